const thrift = require('thrift')

/** A backend that hasn't answered by then is taken for dead. */
const TIMEOUT_MS = 2000

/** No answer came. What the backend itself answers, declared exceptions among it, is thrown as it is. */
class BackendDown extends Error {}

/**
 * A Thrift service that this process calls. The connection is made by the first call, kept, and made anew by the next
 * call after it broke. Thrift never settles a call whose connection broke, so that is done here.
 */
class Backend {
  /** @param options Thrift's own: transport and protocol */
  constructor(name, Service, port, options) {
    this.name = name
    this.Service = Service
    this.port = Number(port)
    this.options = options
    this.link = undefined
  }

  /** `use` gets the client and returns the promise of its call: `pricing.call(client => client.quote('lamp', 1))`. */
  async call(use) {
    this.link ??= this.connect()
    const { client, waiting } = this.link
    let giveUp
    let timer
    const broken = new Promise((_, reject) => {
      giveUp = reason => reject(new BackendDown(`${this.name} is down: ${reason}`))
      timer = setTimeout(giveUp, TIMEOUT_MS, `no answer in ${TIMEOUT_MS} ms`)
    })
    waiting.add(giveUp)
    try {
      return await Promise.race([use(client), broken])
    } finally {
      clearTimeout(timer)
      waiting.delete(giveUp)
    }
  }

  connect() {
    const connection = thrift.createConnection('127.0.0.1', this.port, this.options)
    const link = { connection, client: thrift.createClient(this.Service, connection), waiting: new Set() }
    const lost = reason => {
      if (this.link === link) this.link = undefined
      for (const giveUp of link.waiting) giveUp(reason)
      connection.destroy()
    }
    connection.on('error', error => lost(error.message))
    connection.on('close', () => lost('connection closed'))
    return link
  }

  close() {
    this.link?.connection.end()
  }
}

module.exports = { Backend, BackendDown }
