'use strict'
const { connect } = require('node:net')

// The clients, in a process of their own: `connections` of them, each with `depth` requests on the way at a time.
const REQUEST = 'GET /users/42/orders?page=2 HTTP/1.1\r\nHost: shop.example\r\nAccept: */*\r\n\r\n'

const connections = new Map()

process.on('message', async ({ port, calls, connections: n, depth }) => {
  const key = `${port} ${n}`
  if (!connections.has(key)) connections.set(key, await Promise.all(Array.from({ length: n }, () => open(port))))
  const latenciesMs = []
  await Promise.all(connections.get(key).map(run => run(calls / n, depth, latenciesMs)))
  latenciesMs.sort((a, b) => a - b)
  const quantile = q => latenciesMs[Math.floor(q * (latenciesMs.length - 1))]
  process.send({ medianMs: quantile(0.5), p99Ms: quantile(0.99), mostMs: quantile(1) })
})
process.on('disconnect', () => process.exit())
process.send({})

/** @returns a function that sends so many requests, and resolves when each has been answered */
function open(port) {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1')
    socket.on('error', error => {
      throw error
    })
    // All answers are of one length: the date's never changes.
    let length = 0
    let bytes = 0
    let seen = () => {}
    socket.on('data', data => {
      if (length === 0) {
        if (!/^HTTP\/1\.1 200 OK\r\n.*\r\n\r\nok$/s.test(data.latin1Slice())) throw new Error(`not an answer: ${data}`)
        length = data.length
      }
      bytes += data.length
      while (bytes >= length) {
        bytes -= length
        seen()
      }
    })
    const run = (calls, depth, latenciesMs = []) =>
      new Promise(done => {
        let sentAt = performance.now()
        let toSend = calls - depth
        let open = depth
        let answers = 0
        // A turn's answers make one write: so it is with clients that pipeline.
        seen = () => {
          open--
          answers++
          latenciesMs.push(performance.now() - sentAt)
          if (answers === calls) return done()
          if (open === 0) {
            open = Math.min(depth, toSend)
            toSend -= open
            sentAt = performance.now()
            socket.write(REQUEST.repeat(open))
          }
        }
        socket.write(REQUEST.repeat(depth))
      })
    socket.once('connect', () => run(1, 1).then(() => resolve(run), reject))
  })
}
