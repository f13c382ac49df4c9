import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import { type AddressInfo, createServer as createTcpServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { parseHdfsAddress } from '../../collector/src/offline/hdfs/address'
import { HdfsFolder } from '../../collector/src/offline/hdfs/folder'
import { WebHdfs, type WebHdfsOptions } from '../../collector/src/offline/hdfs/webhdfs'
import { ROOT } from '../helpers/child'
import { Program } from '../helpers/programs'

/**
 * What HDFS does when all is well, and when it is away, is in hdfs.test.ts, with a real one. These servers are made up: namenodes that are
 * on standby, broken or hostile.
 */

const SECRET = 'AAAB-secret-token'

describe('WebHDFS with namenodes that are made up', () => {
  const servers: Server[] = []
  afterEach(() => {
    for (const server of servers.splice(0)) {
      server.closeAllConnections()
      server.close()
    }
  })

  async function serve(listener: RequestListener): Promise<string> {
    const server = createServer(listener)
    servers.push(server)
    await once(server.listen(0, '127.0.0.1'), 'listening')
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  }

  function hdfs(namenodes: string[], more: Partial<WebHdfsOptions> = {}): WebHdfs {
    return new WebHdfs({ namenodes, user: 'anna', retryMs: 1, ...more })
  }

  const json = (res: ServerResponse, status: number, body: unknown) => {
    res.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
  }
  const exception = (res: ServerResponse, status: number, exception: string, message = 'said the server') =>
    json(res, status, { RemoteException: { exception, javaClassName: `org.apache.hadoop.${exception}`, message } })
  const status = (length: unknown, type = 'FILE') => ({ FileStatus: { type, length } })

  /** Writes a file of three bytes. */
  async function create(client: WebHdfs): Promise<void> {
    const out = await client.create('/milo/x')
    const done = once(out, 'finish')
    out.end(Buffer.from('abc'))
    await done
  }

  it('asks as a user, or by a token in the user’s place, with paths and names encoded', async () => {
    const asked: string[] = []
    const namenode = await serve((req, res) => {
      asked.push(`${req.method} ${req.url}`)
      json(res, 200, req.method === 'GET' ? status(5) : { boolean: true })
    })
    assert.equal(await hdfs([namenode]).length('/a b/ü&?'), 5)
    await hdfs([namenode], { token: SECRET }).makeFolder('/a')
    assert.deepEqual(asked, [
      'GET /webhdfs/v1/a%20b/%C3%BC%26%3F?op=GETFILESTATUS&user.name=anna',
      `PUT /webhdfs/v1/a?op=MKDIRS&permission=750&delegation=${SECRET}`,
    ])
  })

  it('goes on to the active one of several namenodes, and stays with it', async () => {
    let [standby, active] = [0, 0]
    const first = await serve((_req, res) => {
      standby++
      exception(res, 403, 'StandbyException', 'Operation category READ is not supported in state standby')
    })
    const second = await serve((_req, res) => {
      active++
      json(res, 200, status(7))
    })
    const away = 'http://127.0.0.1:1'
    const client = hdfs([away, first, second])
    for (let i = 0; i < 3; i++) assert.equal(await client.length('/x'), 7)
    assert.deepEqual([standby, active], [1, 3])
  })

  it('gives up on namenodes that can’t answer after a number of rounds, with the reason and the remedy', async () => {
    let asked = 0
    const standby = await serve((_req, res) => {
      asked++
      exception(res, 403, 'StandbyException')
    })
    await assert.rejects(hdfs([standby]).length('/x'), {
      passing: true,
      message: /on standby: name all namenodes in --to/,
    })
    assert.equal(asked, 7)
    const safe = await serve((_req, res) => exception(res, 403, 'SafeModeException', 'Name node is in safe mode.'))
    await assert.rejects(hdfs([safe]).makeFolder('/x'), /MKDIRS\): .*: Name node is in safe mode/)
    await assert.rejects(hdfs(['http://127.0.0.1:1']).length('/x'), /ECONNREFUSED.*: give the namenode's web port/)
    const closing = createTcpServer(socket => socket.destroy())
    await once(closing.listen(0, '127.0.0.1'), 'listening')
    const { port } = closing.address() as AddressInfo
    await assert.rejects(hdfs([`http://127.0.0.1:${port}`]).length('/x'), { passing: true })
    closing.close()
  })

  it('refuses redirects that no HDFS would make, without a word of the token', async () => {
    const targets: [string | undefined, RegExp][] = [
      [undefined, /redirects to no address/],
      ['http://[', /redirects to no address/],
      [`http://x/webhdfs/v1/${'x'.repeat(20_000)}`, /HEADER_OVERFLOW|Header|no address/i],
      ['file:///webhdfs/v1/etc/passwd', /redirects to file:/],
      ['ftp://127.0.0.1/webhdfs/v1/x', /redirects to ftp:/],
      ['javascript:alert(1)', /redirects to javascript:/],
      ['http://user:pw@127.0.0.1/webhdfs/v1/x', /something else than a datanode's WebHDFS/],
      ['http://127.0.0.1/latest/meta-data', /something else than a datanode's WebHDFS/],
    ]
    for (const [location, expected] of targets) {
      const namenode = await serve((_req, res) => {
        res.writeHead(307, location === undefined ? {} : { location }).end()
      })
      for (const work of [(client: WebHdfs) => client.create('/x'), (client: WebHdfs) => client.read('/x', 10)]) {
        await assert.rejects(work(hdfs([namenode], { token: SECRET })), (error: Error) => {
          assert.match(error.message, expected)
          assert.doesNotMatch(String(error.stack), /secret/)
          return true
        })
      }
    }
  })

  it('follows one redirect, and none of a datanode', async () => {
    const datanode = await serve(
      (req, res) => void req.resume().on('end', () => res.writeHead(307, { location: '/webhdfs/v1/y' }).end()),
    )
    const namenode = await serve((_req, res) => void res.writeHead(307, { location: `${datanode}/webhdfs/v1/x` }).end())
    await assert.rejects(create(hdfs([namenode])), /the datanode refuses CREATE of \/milo\/x \(307\)/)
    await assert.rejects(hdfs([namenode]).read('/x', 10), /the datanode refuses OPEN of \/x \(307\)/)
  })

  it('reads no more of an answer than it needs', async () => {
    const flood = (res: ServerResponse) => {
      const chunk = Buffer.alloc(65_536, 0x20)
      const more = () => {
        while (res.write(chunk));
      }
      res.on('drain', more)
      more()
    }
    let sent = 0
    const namenode = await serve((req, res) => {
      const isFile = req.url!.includes('op=OPEN')
      if (isFile) return void res.writeHead(307, { location: `${datanode}/webhdfs/v1/x` }).end()
      sent++
      flood(res.writeHead(200))
    })
    const datanode = await serve((req, res) => {
      req.resume()
      flood(res.writeHead(200))
    })
    await assert.rejects(hdfs([namenode]).length('/x'), /the answer has more than \d+ bytes/)
    assert.equal(sent, 7)
    await assert.rejects(hdfs([namenode]).read('/x', 1_000_000), /the answer has more than 1000000 bytes/)
  })

  it('says what is wrong with answers that make no sense', async () => {
    const bodies: [number, string, RegExp][] = [
      [200, 'null', /refuses GETFILESTATUS.*give the web port/],
      [200, '<html>', /refuses GETFILESTATUS of \/x \(200, <html>\): give the web port/],
      [200, '{}', /no good answer to GETFILESTATUS of \/x: give the web port/],
      [200, '{"FileStatus":{"type":"FILE","length":-1e99}}', /no good answer/],
      [200, '{"FileStatus":{"type":"FILE","length":"5"}}', /no good answer/],
      [200, '{"FileStatus":{"type":"DIRECTORY","length":0}}', /is a folder of HDFS/],
      [404, 'It looks like you are making an HTTP request to a Hadoop IPC port. ', /port of Hadoop's own protocol/],
      [401, 'Authentication required', /delegation token \(curl --negotiate/],
      [
        403,
        '{"RemoteException":{"exception":"AccessControlException","message":"Permission denied: user=anna"}}',
        /user=anna.*HADOOP_USER_NAME/,
      ],
      [
        403,
        '{"RemoteException":{"exception":"InvalidToken","message":"token (…) can\'t be found in cache"}}',
        /new delegation token/,
      ],
      [
        403,
        '{"RemoteException":{"exception":"NSQuotaExceededException","message":"The quota is exceeded"}}',
        /raise its quota/,
      ],
      [
        400,
        `{"RemoteException":{"exception":"Evil\\u001b[31m\\n","message":"${'x'.repeat(5_000)}"}}`,
        /Evil \[31m: x{300}…\)$/,
      ],
      [307, '', /refuses GETFILESTATUS of \/x \(307\): give the web port/],
    ]
    for (const [code, body, expected] of bodies) {
      const namenode = await serve((_req, res) => void res.writeHead(code).end(body))
      await assert.rejects(hdfs([namenode], { token: SECRET }).length('/x'), (error: Error) => {
        assert.match(error.message, expected)
        assert.doesNotMatch(error.message, /secret|\p{C}/u)
        return true
      })
    }
    const missing = await serve((_req, res) => exception(res, 404, 'FileNotFoundException'))
    assert.equal(await hdfs([missing]).length('/x'), undefined)
  })

  it('notices a datanode that refuses, closes, or has the file before it has all of it', async () => {
    let answer: (req: IncomingMessage, res: ServerResponse) => void
    const datanode = await serve((req, res) => answer(req, res))
    const namenode = await serve(
      (_req, res) => void res.writeHead(307, { location: `${datanode}/webhdfs/v1/x?a=b` }).end(),
    )
    answer = (req, res) =>
      void req
        .resume()
        .on('end', () =>
          exception(res, 403, 'IOException', 'File /x could only be written to 0 of the 1 minReplication nodes.'),
        )
    await assert.rejects(create(hdfs([namenode])), { passing: true, message: /no datanode has room, or none is up/ })
    answer = req => void req.socket.destroy()
    await assert.rejects(create(hdfs([namenode])), {
      passing: true,
      message: /the datanode http:\/\/127[\d.:]+: .*HttpFS gateway/,
    })
    answer = (_req, res) => void res.writeHead(201).end()
    const out = await hdfs([namenode]).create('/x')
    const failed = once(out, 'error')
    out.write('abc')
    const [error] = await failed
    assert.match(error.message, /before it had all of it|socket|EPIPE|ECONNRESET/)
  })

  it('holds what is written back until the datanode takes it', async () => {
    let connection: Socket | undefined
    const datanode = await serve(req => {
      connection = req.socket
      req.pause()
    })
    const namenode = await serve((_req, res) => void res.writeHead(307, { location: `${datanode}/webhdfs/v1/x` }).end())
    const out = await hdfs([namenode]).create('/x')
    out.on('error', () => {})
    const block = Buffer.alloc(1024 * 1024)
    let blocks = 0
    while (out.write(block)) blocks++
    assert.ok(blocks < 100)
    const { writableLength } = out
    await new Promise(resolve => setImmediate(resolve))
    assert.equal(out.writableLength, writableLength)
    out.destroy()
    connection?.destroy()
  })

  it('keeps a file only if it is as long as what was written', async () => {
    let length = 3
    const datanode = await serve((req, res) => void req.resume().on('end', () => res.writeHead(201).end()))
    const namenode = await serve((req, res) => {
      if (req.url!.includes('op=CREATE')) return void res.writeHead(307, { location: `${datanode}/webhdfs/v1/x` }).end()
      json(res, 200, req.method === 'GET' ? status(length) : { boolean: true })
    })
    const folder = new HdfsFolder(parseHdfsAddress(namenode.replace('http', 'webhdfs') + '/milo'), { retryMs: 1 })
    const write = async () => {
      const file = await folder.create('x')
      const done = once(file.out, 'finish')
      file.out.end('abc')
      await done
      return file.keep()
    }
    assert.equal(await write(), 3)
    length = 2
    await assert.rejects(write(), {
      passing: true,
      message: /has 2 bytes after 3 were written: is another export writing it/,
    })
  })

  it('speaks https, with an authority from NODE_EXTRA_CA_CERTS, and isn’t led back to http', async () => {
    const tls = (name: string) => readFileSync(join(ROOT, 'test/fixtures/tls', name))
    const listener: RequestListener = (req, res) => {
      if (req.url!.includes('op=OPEN'))
        return void res.writeHead(307, { location: 'http://127.0.0.1:1/webhdfs/v1/x' }).end()
      json(res, 200, status(9))
    }
    const server = createTlsServer({ cert: tls('cert.pem'), key: tls('key.pem') }, listener)
    servers.push(server as unknown as Server)
    await once(server.listen(0, '127.0.0.1'), 'listening')
    const origin = `https://localhost:${(server.address() as AddressInfo).port}`
    await assert.rejects(hdfs([origin]).length('/x'), /set NODE_EXTRA_CA_CERTS/)
    const code = `
      const { WebHdfs } = require('./collector/src/offline/hdfs/webhdfs')
      const client = new WebHdfs({ namenodes: ['${origin}'], retryMs: 1 })
      client.length('/x').then(length => console.log('length', length))
        .then(() => client.read('/x', 9)).catch(error => console.log(error.message)).then(() => console.log('end'))`
    const program = new Program(process.execPath, ['--require', 'tsx/cjs', '--eval', code], {
      NODE_EXTRA_CA_CERTS: join(ROOT, 'test/fixtures/tls/cert.pem'),
    })
    await program.printed(/^end$/m)
    assert.match(
      program.stdout,
      /^length 9\nhttps:\/\/localhost:\d+ redirects from https to http: set dfs\.http\.policy/,
    )
  })
})

describe('addresses of HDFS', () => {
  it('name namenodes, a folder and maybe a user', () => {
    const cases: [string, string[], string, string?][] = [
      ['hdfs://nn1/milo', ['http://nn1:9870'], '/milo'],
      ['hdfs://nn1:8020/milo/spans/', ['http://nn1:9870'], '/milo/spans'],
      ['webhdfs://anna@nn1:50070/x', ['http://nn1:50070'], '/x', 'anna'],
      ['webhdfs://nn1:9870,nn2:9870/x', ['http://nn1:9870', 'http://nn2:9870'], '/x'],
      ['swebhdfs://nn1,[::1]:9999/x//y', ['https://nn1:9871', 'https://[::1]:9999'], '/x/y'],
    ]
    for (const [text, namenodes, path, user] of cases)
      assert.deepEqual(parseHdfsAddress(text), { namenodes, path, user }, text)
  })

  it('are refused with a remedy', () => {
    for (const text of [
      'hdfs://',
      'hdfs:///x',
      'hdfs://nn1',
      'hdfs://nn1/',
      'webhdfs://a b/x',
      'webhdfs://nn1:x/x',
      'webhdfs://nn1,/x',
      'webhdfs://nn1/x?op=DELETE',
      'webhdfs://a:b@nn1/x',
      'webhdfs://nn1/a/../b',
      'webhdfs://nn1/a:b',
    ])
      assert.throws(() => parseHdfsAddress(text), /give (webhdfs:\/\/NAMENODE:9870\/folder|another folder)/, text)
  })
})
