import { once } from 'node:events'
import { createServer, type Server, type Socket } from 'node:net'
import { createServer as createTlsServer, type TlsOptions } from 'node:tls'
import { freePort } from '../servers/process'

/** A server for exporters, on a real socket. What it speaks is the derived class's. */
export abstract class Peer {
  connections = 0
  port = 0
  private readonly server: Server
  private readonly sockets = new Set<Socket>()

  protected constructor(tls: TlsOptions | undefined) {
    const accept = (socket: Socket) => {
      this.connections++
      this.sockets.add(socket)
      socket.on('close', () => this.sockets.delete(socket))
      socket.on('error', () => {})
      this.serve(socket)
    }
    this.server = tls === undefined ? createServer(accept) : createTlsServer(tls, accept)
    // Clients whose handshake fails are the client's test.
    this.server.on('tlsClientError', () => {})
  }

  /** On a port of this test process's own: senders that go on after `close` reach no other test's peer. */
  protected async open(port?: number): Promise<this> {
    this.port = port ?? (await freePort())
    this.server.listen(this.port, '127.0.0.1')
    await once(this.server, 'listening')
    return this
  }

  get address(): string {
    return `127.0.0.1:${this.port}`
  }

  /** Breaks all connections; new ones are welcome. */
  disconnect(): void {
    for (const socket of this.sockets) socket.destroy()
  }

  async close(): Promise<void> {
    this.disconnect()
    this.server.close()
    if (this.server.listening) await once(this.server, 'close')
  }

  protected abstract serve(socket: Socket): void
}
