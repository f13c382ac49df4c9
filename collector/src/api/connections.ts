import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { type AdmissionOptions, type Guest, isSlow, makesRoom } from '../receive/admission'

/** What is received and answered on a connection, of which there may be several at once. */
interface Exchange {
  request: IncomingMessage
  response: ServerResponse
  beganAt: number
  read: number
  written: number
}

/**
 * Limits HTTP connections so that there is always room for a client with a request: connections without a request, or whose
 * request or answer is unreasonably slow, make room for others, the longest idle first.
 */
export function limitConnections(server: Server, options: AdmissionOptions): void {
  const guests = new Set<Guest>()
  /** Connections by address and port, because TLS makes another socket of one. */
  const accepted = new Map<string, Connection>()

  // Handshakes, refused ones too, are over soon.
  server.maxConnections = 2 * options.maxConnections
  server.on('connection', (socket: Socket) => {
    const connection = new Connection(socket)
    if (!makesRoom(guests, connection.address, options)) {
      socket.destroy()
      return
    }
    const name = nameOf(socket)
    guests.add(connection)
    accepted.set(name, connection)
    socket.once('close', () => {
      guests.delete(connection)
      if (accepted.get(name) === connection) accepted.delete(name)
    })
  })
  server.on('secureConnection', (socket: Socket) => {
    const connection = accepted.get(nameOf(socket))
    if (connection !== undefined) connection.socket = socket
  })
  server.on('request', (request: IncomingMessage, response: ServerResponse) => {
    accepted.get(nameOf(request.socket))?.begin(request, response)
  })
}

class Connection implements Guest {
  readonly address: string
  socket: Socket
  private idleSince = performance.now()
  private readonly exchanges = new Set<Exchange>()

  constructor(socket: Socket) {
    this.socket = socket
    this.address = socket.remoteAddress ?? ''
  }

  begin(request: IncomingMessage, response: ServerResponse): void {
    const { bytesRead: read, bytesWritten: written } = request.socket
    const exchange = { request, response, beganAt: performance.now(), read, written }
    this.exchanges.add(exchange)
    response.once('close', () => {
      this.exchanges.delete(exchange)
      this.idleSince = performance.now()
    })
  }

  yieldsSince(): number | undefined {
    const now = performance.now()
    for (const { request, response, beganAt, read, written } of this.exchanges) {
      const elapsed = now - beganAt
      const { bytesRead, bytesWritten, writableLength } = this.socket
      const drips = !request.complete && isSlow(elapsed, bytesRead - read)
      const isStuck = response.writableNeedDrain && isSlow(elapsed, bytesWritten - writableLength - written)
      return drips || isStuck ? beganAt : undefined
    }
    return this.idleSince
  }

  destroy(): void {
    this.socket.destroy()
  }
}

function nameOf({ remoteAddress, remotePort }: Socket): string {
  return `${remoteAddress} ${remotePort}`
}
