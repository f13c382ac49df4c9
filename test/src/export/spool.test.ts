import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { init, shutdown, span, stats } from '../../../src'
import { SpanBuffer } from '../../../src/export/buffer'
import { Spool } from '../../../src/export/spool'
import { finished, ROOT, runNode, startNode } from '../../helpers/child'
import { type Bench, bench } from '../../helpers/emitter'
import { ScribePeer } from '../../helpers/scribe-peer'
import { seeded } from '../../helpers/seeded'
import { until } from '../../helpers/until'
import { freePort } from '../../servers/process'

const MIB = 1024 * 1024

describe('the spool', () => {
  let directory: string
  let peer: ScribePeer
  let dead: string
  const running: Bench[] = []

  beforeEach(async () => {
    directory = join(mkdtempSync(join(tmpdir(), 'milo-spool-')), 'spool')
    peer = await ScribePeer.listen()
    dead = `127.0.0.1:${await freePort()}`
  })

  afterEach(async () => {
    for (const { emitter, addsUp } of running.splice(0)) {
      await emitter.close(30_000)
      addsUp()
    }
    await shutdown(0)
    await peer.close()
    chmodSync(join(directory, '..'), 0o700)
    rmSync(join(directory, '..'), { recursive: true, force: true })
  })

  function start(scribe: string, maxBytes = 64 * MIB, buffer?: SpanBuffer): Bench {
    const started = bench(scribe, { delayMs: 1, firstPauseMs: 5, longestPauseMs: 20 }, { directory, maxBytes }, buffer)
    running.push(started)
    return started
  }
  const files = (kind: string) =>
    existsSync(directory) ? readdirSync(directory).filter(name => name.endsWith(`.${kind}`)) : []
  const names = () => peer.spans.map(s => s.name)
  const numbered = (n: number) => Array.from({ length: n }, (_, i) => `work ${i}`)
  const distinct = () => new Set(peer.spans.map(s => s.id)).size

  /** Leaves `n` spans behind, as a process does that ends while Scribe is away. */
  async function leave(n: number): Promise<void> {
    const before = start(dead)
    before.work(n)
    await until('all is in the spool', () => before.buffer.counts().spooled === n)
    before.addsUp()
    await before.emitter.close(30_000)
  }

  it('takes what Scribe can’t, counts it, and replays it oldest first when Scribe is back', async () => {
    const { port } = peer
    await peer.close()
    const { emitter, buffer, work, addsUp } = start(`127.0.0.1:${port}`)
    for (let i = 0; i < 5; i++) {
      work(300)
      await until('it is in the spool', () => buffer.counts().spooled === 300 * (i + 1))
      addsUp()
    }
    assert.ok(files('spans').length >= 5)
    assert.deepEqual(files('tmp'), [])
    assert.equal(buffer.counts().buffered + buffer.counts().inFlight, 0)
    peer = await ScribePeer.listen(port)
    await until('all has been sent', () => {
      addsUp()
      return buffer.counts().sent === 1500
    })
    assert.deepEqual(names(), numbered(1500))
    await until('the files are gone', () => files('spans').length === 0)
    assert.equal(buffer.counts().spooled, 0)
    assert.equal(emitter.spoolErrors, 0)
  })

  for (const isBusy of [false, true]) {
    it(`adds up across a second init, with ${isBusy ? 'spans' : 'none'} in memory: what the first left in the spool is sent`, async () => {
      const common = { sampler: 'always', spool: { directory }, logLevel: 'silent' } as const
      init({ ...common, scribe: dead })
      for (const name of numbered(5)) span(name, () => {})
      await until('all is in the spool', () => stats().spooled === 5)
      if (isBusy) span('later', () => {})
      init({ ...common, scribe: peer.address })
      if (!isBusy) span('later', () => {})
      await until('all has arrived', () => distinct() === 6)
      await until('all is sent', () => stats().sent + stats().recovered === 6)
      assert.deepEqual(names().sort(), ['later', ...numbered(5)])
      const { ended, sent, recovered, spooled, dropped } = stats()
      assert.deepEqual([ended, sent, recovered, spooled, dropped], [1, 1, 5, 0, 0])
    })
  }

  it('sends what is new in turn with what it replays', async () => {
    await leave(400)
    const { buffer, work } = start(peer.address)
    work(2000)
    await until('all has been sent', () => peer.spans.length === 2400)
    await until('it is counted', () => buffer.counts().sent === 2000)
  })

  it('replays after a restart, and counts that apart from its own', async () => {
    await leave(700)
    const after = start(peer.address)
    await until('all has come', () => peer.spans.length === 700)
    assert.deepEqual(names(), numbered(700))
    await until('it is counted', () => after.emitter.recovered === 700)
    assert.equal(after.buffer.counts().ended, 0)
    await until('the files are gone', () => files('spans').length === 0)
  })

  it('takes the load off a filling buffer while Scribe is slow, and loses nothing', async () => {
    peer.react = () => 'silence'
    const { buffer, work, addsUp } = start(peer.address, 64 * MIB, new SpanBuffer(2000, 16 * MIB))
    for (let i = 0; i < 60; i++) {
      work(100)
      addsUp()
      await until('there is room', () => buffer.fullness < 0.9)
    }
    await until('more than half is in the spool', () => buffer.counts().spooled > 3000)
    assert.equal(buffer.counts().dropped, 0)
    peer.react = () => ({ reply: 0 })
    peer.disconnect()
    await until('all has been sent', () => buffer.counts().sent === 6000)
    assert.equal(distinct(), 6000)
  })

  it('stays within its bytes; then the buffer fills, and newer spans are dropped and counted', async () => {
    const { emitter, buffer, work, addsUp } = start(dead, MIB, new SpanBuffer(1000, 16 * MIB))
    const size = () =>
      readdirSync(directory).reduce((sum, name) => {
        const { blocks, size } = statSync(join(directory, name))
        return sum + Math.max(size, blocks * 512)
      }, 0)
    // On a slow disk the buffer is full before the spool is.
    await until('spans are dropped, and the spool is full', () => {
      work(100, 'x'.repeat(1000))
      addsUp()
      return buffer.counts().drops.buffer_full > 0 && emitter.spoolErrors > 0
    })
    assert.ok(size() <= MIB + 8192, `${size()}`)
    assert.ok(size() > MIB / 2)
    const { spooled, buffered, inFlight } = buffer.counts()
    assert.ok(spooled > 0 && buffered > 0 && inFlight <= 1000)
  })

  it('recognises damaged files, puts them aside, and sends the others', async () => {
    for (const n of [1, 2, 3, 4, 5]) await leave(n)
    const [torn, flipped, longer, , renamed] = files('spans').sort()
    truncateSync(join(directory, torn!), 60)
    const bytes = readFileSync(join(directory, flipped!))
    bytes[bytes.length - 1]! ^= 1
    writeFileSync(join(directory, flipped!), bytes)
    writeFileSync(join(directory, longer!), 'more', { flag: 'a' })
    copyFileSync(join(directory, renamed!), join(directory, renamed!.replace(/-5-/, '-6-')))
    const after = start(peer.address)
    await until('the whole ones have come', () => peer.spans.length === 9)
    await until('the damaged ones are aside', () => files('bad').length === 4)
    // The peer has the last ones a moment before their sender has the answer.
    await until('all are counted', () => after.emitter.recovered === 9)
    assert.equal(after.emitter.spoolErrors, 4)
  })

  it('leaves its files to others once it is closed, whatever it was about to do', async () => {
    const lost: number[] = []
    const spool = new Spool(
      { directory, maxBytes: MIB },
      () => {},
      spans => lost.push(spans),
    )
    spool.start()
    assert.ok(await spool.put(Buffer.from('a batch'), 1))
    assert.ok(await spool.put(Buffer.from('and another'), 1))
    const [first] = files('spans').sort()
    truncateSync(join(directory, first!), 10)
    const last = [spool.oldest(), spool.put(Buffer.from('the last'), 1)] as const
    spool.close()
    const [none, put] = await Promise.all(last)
    assert.deepEqual([none, put!.endsWith('.spans')], [undefined, true])
    assert.equal(spool.waiting, false)
    assert.equal(await spool.oldest(), undefined)
    assert.deepEqual([files('spans').length, files('bad'), files('alive'), lost], [3, [], [], []])
  })

  it('touches its directory no more once its closing has resolved: what was being written is whole', async () => {
    const { emitter, work } = start(dead)
    work(10)
    void emitter.drain(30_000)
    await emitter.close(30_000)
    assert.deepEqual([files('spans').length, files('tmp'), files('alive')], [1, [], []])
  })

  it('holds its closing no longer than it was given when the disk hangs', async () => {
    const { emitter } = start(dead)
    Object.assign((emitter as unknown as { pump: { spool: Spool } }).pump.spool, { busy: new Promise(() => {}) })
    await emitter.close(1)
    running.pop()
  })

  it('removes damaged files first when it needs room', async () => {
    mkdirSync(directory, { recursive: true })
    for (let i = 0; i < 3; i++) {
      writeFileSync(join(directory, `00000000000000${i}-00000001-0123456789ab-1-${500 * 1024}.bad`), '')
    }
    const { buffer, work } = start(dead, MIB)
    work(10)
    await until('it is in the spool', () => buffer.counts().spooled === 10)
    assert.equal(files('bad').length, 2)
  })

  it('touches no file that isn’t its own kind, and follows no link', async () => {
    await leave(2)
    const [good] = files('spans')
    const elsewhere = join(directory, '..', 'elsewhere')
    copyFileSync(join(directory, good!), elsewhere)
    symlinkSync(elsewhere, join(directory, good!.replace(/^\d{15}/, '000000000000001')))
    mkdirSync(join(directory, good!.replace(/^\d{15}/, '000000000000002')))
    writeFileSync(join(directory, 'notes.txt'), 'mine')
    writeFileSync(join(directory, 'x.tmp'), 'mine')
    const after = start(peer.address)
    await until('the good one has come', () => peer.spans.length === 2)
    await until('it is removed', () => after.emitter.recovered === 2)
    assert.equal(readFileSync(join(directory, 'notes.txt'), 'utf8'), 'mine')
    assert.equal(readFileSync(join(directory, 'x.tmp'), 'utf8'), 'mine')
    assert.ok(existsSync(elsewhere))
    assert.ok(after.emitter.spoolErrors >= 2)
  })

  it('counts spans of files that somebody removes as lost', async () => {
    const { port } = peer
    await peer.close()
    const { buffer, work, addsUp } = start(`127.0.0.1:${port}`)
    for (const n of [1, 2, 3]) {
      work(10)
      await until('it is in the spool', () => buffer.counts().spooled === 10 * n)
    }
    for (const name of files('spans')) rmSync(join(directory, name))
    peer = await ScribePeer.listen(port)
    work(1)
    // The oldest batch may have been read already: that one isn't lost.
    await until('the loss is counted', () => buffer.counts().drops.spool_lost >= 20)
    await until('the others are sent', () => buffer.counts().sent + buffer.counts().drops.spool_lost === 31)
    addsUp()
  })

  it('is shared by two emitters: neither takes the other’s files while it lives', async () => {
    const one = start(dead)
    one.work(20)
    await until('the first has spooled', () => one.buffer.counts().spooled === 20)
    const two = start(peer.address)
    two.work(5)
    await until('the second has sent its own', () => two.buffer.counts().sent === 5)
    assert.equal(peer.spans.length, 5)
    one.emitter.close()
    const three = start(peer.address)
    // The second may still be looking around when the first leaves.
    const recovered = () => two.emitter.recovered + three.emitter.recovered
    await until('another takes over what the first has left', () => recovered() === 20)
    one.addsUp()
    assert.equal(one.buffer.counts().spooled, 20)
  })

  it('takes the files of a process elsewhere once its heartbeat is old', async () => {
    await leave(3)
    const owner = files('spans')[0]!.split('-')[2]!
    const alive = join(directory, `${owner}.alive`)
    writeFileSync(alive, JSON.stringify({ machine: 'another', pid: 1 }))
    const waiting = start(peer.address)
    waiting.work(1)
    await until('its own has come', () => waiting.buffer.counts().sent === 1)
    assert.equal(waiting.emitter.recovered, 0)
    const old = new Date(Date.now() - 120_000)
    utimesSync(alive, old, old)
    const next = start(peer.address)
    // The first one looks around now and then, too.
    await until('it is taken over', () => waiting.emitter.recovered + next.emitter.recovered === 3)
    await until('the heartbeat is cleared away', () => !existsSync(alive))
  })

  it('several that start at once share what was left: all of it arrives', async () => {
    for (let i = 0; i < 10; i++) await leave(50)
    const many = Array.from({ length: 4 }, () => start(peer.address))
    await until('all has been recovered', () => many.reduce((sum, { emitter }) => sum + emitter.recovered, 0) === 500)
    assert.equal(distinct(), 500)
    assert.equal(peer.spans.length, 500)
  })

  for (const [what, make] of [
    ['a file', (path: string) => writeFileSync(path, 'not a directory')],
    ['a broken link', (path: string) => symlinkSync('/nonexistent/milo/spool', path)],
  ] as const) {
    it(`costs a counter and nothing else when the directory is ${what}`, async () => {
      make(directory)
      init({ sampler: 'always', scribe: dead, spool: { directory }, logLevel: 'silent' })
      span('kept', () => {})
      await until('it is counted', () => stats().spoolErrors > 0 && stats().failures > 0)
      assert.equal(stats().buffered + stats().inFlight, 1)
      assert.equal(await shutdown(0), false)
      assert.equal(stats().drops.shutdown, 1)
    })
  }

  for (const path of ['/proc/milo/spool', '/dev/null/spool']) {
    it(`costs a counter and nothing else where it can’t be made, as ${path}`, async function () {
      if (process.platform !== 'linux') this.skip()
      directory = path
      const { emitter, buffer, work, addsUp } = start(dead)
      work(3)
      await until('it is counted', () => emitter.spoolErrors > 0 && emitter.failures > 0)
      emitter.drainNow()
      assert.equal(emitter.inMemory(), 3)
      addsUp()
      assert.equal(buffer.counts().spooled, 0)
      directory = mkdtempSync(join(tmpdir(), 'milo-spool-'))
      directory = join(directory, 'spool')
    })
  }

  it('isn’t stopped by what others have put there: a .bad that can’t be removed, sizes that nobody has', async () => {
    mkdirSync(join(directory, `000000000000001-00000001-0123456789ab-1-${900 * 1024}.bad`), { recursive: true })
    writeFileSync(join(directory, `000000000000002-00000001-0123456789ab-1-${200 * 1024}.bad`), '')
    writeFileSync(join(directory, `000000000000003-00000001-0123456789ab-1-999999999.spans`), '')
    const { emitter, buffer, work } = start(dead, MIB)
    work(10)
    await until('it is in the spool', () => buffer.counts().spooled === 10)
    assert.equal(emitter.spoolErrors, 0)
  })

  it('adds up at every moment, whatever happens in which order', async () => {
    const seed = Number(process.env.MILO_TEST_SEED ?? Date.now() % 1_000_000)
    console.log(`      MILO_TEST_SEED=${seed}`)
    const random = seeded(seed)
    const choice = <C>(choices: readonly C[]): C => choices[Math.floor(random() * choices.length)]!
    peer.react = () => choice([{ reply: 0 }, { reply: 0 }, { reply: 1 }, 'close', 'silence'] as const)
    const { emitter, work, addsUp } = start(peer.address, 64 * MIB, new SpanBuffer(300, 16 * MIB))
    for (let step = 0; step < 400; step++) {
      choice([
        () => work(Math.floor(random() * 200)),
        () => work(1),
        () => emitter.hurry(),
        () => emitter.drainNow(),
        () => emitter.abandon('exit'),
        () => void emitter.flush(1, random() < 0.5),
        () => void emitter.drain(5),
        () => peer.disconnect(),
        () =>
          files('spans')
            .slice(0, 1)
            .map(name => rmSync(join(directory, name), { force: true })),
      ])()
      addsUp()
      for (let turns = Math.floor(random() * 8); turns > 0; turns--) {
        await new Promise(resolve => setImmediate(resolve))
        addsUp()
      }
    }
  })

  it('costs a counter and nothing else when the directory can’t be written, and lets spans go to Scribe', async function () {
    if (process.platform !== 'linux') this.skip()
    await leave(3)
    const program = `
      if (process.getuid() === 0) { process.setgid(65534); process.setuid(65534) }
      const milo = require('milo')
      milo.init({ sampler: 'always', scribe: process.env.SCRIBE, spool: { directory: process.env.SPOOL } })
      milo.span('mine', () => {})
      const look = setInterval(() => {
        const { sent, spooled, spoolErrors, dropped } = milo.stats()
        if (sent === 0 || spoolErrors === 0) return
        clearInterval(look)
        console.log(JSON.stringify({ sent, spooled, dropped }))
      }, 10)`
    chmodSync(directory, 0o555)
    chmodSync(join(directory, '..'), 0o755)
    const run = await runNode(['-e', program], { SCRIBE: peer.address, SPOOL: directory })
    chmodSync(directory, 0o700)
    assert.equal(run.status, 0, run.stderr)
    assert.deepEqual(JSON.parse(run.stdout), { sent: 1, spooled: 0, dropped: 0 })
    assert.equal(run.stderr.match(/the spool can't be/g)?.length, 1, run.stderr)
    assert.equal(files('spans').length >= 1, true)
  })

  it('costs a counter and nothing else when the disk is full, and leaves no half file', async function () {
    if (process.platform !== 'linux') this.skip()
    // A limit on the size of files, which fails in the middle of a write as a full disk does.
    const program = `
      const milo = require('milo')
      milo.init({ sampler: 'always', scribe: '${dead}', spool: { directory: ${JSON.stringify(directory)} } })
      for (let i = 0; i < 500; i++) milo.span('big', s => s.annotate('text', 'x'.repeat(1000)))
      const look = setInterval(() => {
        const { ended, sent, buffered, inFlight, spooled, dropped, spoolErrors } = milo.stats()
        if (spoolErrors === 0) return
        clearInterval(look)
        console.log(JSON.stringify([ended, sent, buffered + inFlight, spooled, dropped]))
      }, 10)`
    const child = spawn('bash', ['-c', 'ulimit -f 32; exec "$0" -e "$1"', process.execPath, program], {
      cwd: ROOT,
      stdio: ['pipe', 'pipe', 'pipe'],
    })
    const run = await finished(child)
    assert.equal(run.status, 0, run.stderr)
    assert.deepEqual(JSON.parse(run.stdout), [500, 0, 500, 0, 0])
    assert.match(run.stderr, /the spool can't be written: Error: EFBIG/)
    assert.deepEqual([...files('spans'), ...files('tmp')], [])
  })

  it('is shared by two processes, one of which is killed: nothing that was spooled is lost, and both add up', async () => {
    const { port } = peer
    await peer.close()
    const program = (name: string) => `
      const milo = require('milo')
      milo.init({ sampler: 'always', scribe: '127.0.0.1:${port}', spool: { directory: ${JSON.stringify(directory)} }, logLevel: 'silent' })
      for (let i = 0; i < 1200; i++) milo.span('${name}', () => {})
      setInterval(() => {
        const { ended, sent, buffered, inFlight, spooled, dropped } = milo.stats()
        if (ended !== sent + buffered + inFlight + spooled + dropped) process.exit(1)
        process.stdout.write(spooled + ' ' + sent + '\\n')
        if (sent === 1200) process.exit(0)
      }, 10)`
    const [one, two] = ['one', 'two'].map(name => startNode(['-e', program(name)]))
    const said = ['', '']
    one!.stdout!.on('data', data => (said[0] += data))
    two!.stdout!.on('data', data => (said[1] += data))
    const ends = [finished(one!), finished(two!)]
    await until('both have spooled', () => said.every(text => text.includes('1200 0')))
    one!.kill('SIGKILL')
    await ends[0]
    peer = await ScribePeer.listen(port)
    assert.equal((await ends[1]!).status, 0)
    const count = (name: string) => new Set(peer.spans.filter(s => s.name === name).map(s => s.id)).size
    assert.equal(count('two'), 1200)
    const next = start(peer.address)
    await until('what the killed one left has come', () => count('one') === 1200)
    next.addsUp()
    await until('no file is left', () => files('spans').length === 0)
  })

  it('survives kill -9 at any moment: what was in the spool arrives after a restart, whole', async () => {
    const program = `
      const milo = require('milo')
      milo.init({ sampler: 'always', scribe: '${dead}', spool: { directory: ${JSON.stringify(directory)} }, logLevel: 'silent' })
      let n = 0
      setInterval(() => { for (let i = 0; i < 600; i++) milo.span('killed ' + n++, s => s.annotate('text', 'x'.repeat(200))) }, 1)
      setInterval(() => process.stdout.write(milo.stats().spooled + '\\n'), 5)`
    let promised = 0
    for (let i = 0; i < 6; i++) {
      const child = startNode(['-e', program])
      let seen = 0
      child.stdout!.on('data', data => {
        seen = Math.max(seen, ...String(data).trim().split('\n').map(Number))
      })
      const end = finished(child)
      await until('it has spooled', () => seen >= 500 * (i + 1), 20_000)
      child.kill('SIGKILL')
      await end
      promised += seen
    }
    const after = start(peer.address)
    await until(
      'all that was promised has come',
      () => after.emitter.recovered >= promised && files('spans').length === 0,
      30_000,
    )
    assert.ok(distinct() >= promised)
    assert.deepEqual(files('tmp'), [])
  })
})
