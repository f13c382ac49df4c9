import { Readable } from 'node:stream'
import type { FastifyInstance, FastifyReply } from 'fastify'
import { z } from 'zod'
import type { ChangesAnswer } from '../../http/answers'
import { HttpError } from '../../http/errors'
import { type Time, timeUs } from '../../query'
import { list, oneOf, readParameters, string, time } from '../parameters'
import type { ReadBudget } from '../read-budget'
import { changes } from './changes'
import { CONTENT_TYPES, formatOf, ServiceExposition } from './exposition'
import { answeredStep, DAY_US, duration, type Kept, RANGE, rangeOf, usualStep } from './range'
import { dependencies, operations, type Subject, series, services } from './services'
import type { ReadActivity } from './sums'
import { USUAL_US, UsualDurations } from './usual'

/** What services did: GET /api/services, operations, dependencies, series, usual and changes, and /metrics/services. */

export interface ActivityOptions {
  read: ReadActivity
  /** Reads run one after the other. */
  reads: ReadBudget
  retentionDays: number
  activityDays: number
  /** The cap on /metrics/services. */
  maxSeries: number
  now?(): number
}

/** How many points the series of each service have at most, and one by itself if no step is asked for: an hour begins within a minute. */
const SERVICE_POINTS = 61
const SERIES_POINTS = 241
const DEFAULT_SPAN_US = 30 * 60e6

/** Services and operations may have no name, and a caller's operation may be unknown: an empty name asks for these. */
const NAMES = ['service', 'name', 'caller', 'callee', 'callerName', 'calleeName']

const SERVICES = z.strictObject(RANGE)
const OPERATIONS = z.strictObject({ ...RANGE, service: string.optional() })
const DEPENDENCIES = z.strictObject({
  ...RANGE,
  service: string.optional(),
  operations: oneOf(['true', 'false']).optional(),
})
const SERIES = z.strictObject({
  ...RANGE,
  step: duration.optional(),
  service: string.optional(),
  name: string.optional(),
  side: oneOf(['client', 'server', 'local']).optional(),
  caller: string.optional(),
  callee: string.optional(),
  callerName: string.optional(),
  calleeName: string.optional(),
})
const MAX_SERVICES = 50
const USUAL = z.strictObject({ service: list(MAX_SERVICES, 'give some of the services').default([]) })
const CHANGES = z.strictObject({
  ...RANGE,
  beforeFrom: time.optional(),
  beforeTo: time.optional(),
  moment: time.optional(),
  span: duration.optional(),
  service: string.optional(),
})

export function activityRoutes(app: FastifyInstance, options: ActivityOptions): void {
  const { read, reads, retentionDays, activityDays, maxSeries, now = Date.now } = options
  const kept = (): Kept => ({ retentionDays, activityDays, nowUs: now() * 1000 })
  const inTurn = <V>(work: () => Promise<V>) => reads.during(1, work)
  const exposition = new ServiceExposition(read, maxSeries)
  const usual = new UsualDurations(read, now)

  app.get('/api/services', async (request, reply) => {
    const times = kept()
    const range = rangeOf(readParameters(SERVICES, request.query), times)
    const step = usualStep(range, SERVICE_POINTS, times)
    return send(reply, { ...range, ...(await inTurn(() => services(read, range, step))) })
  })
  app.get('/api/operations', async (request, reply) => {
    const { service, ...given } = readParameters(OPERATIONS, request.query, NAMES)
    const range = rangeOf(given, kept())
    return send(reply, { ...range, ...(await inTurn(() => operations(read, range, service))) })
  })
  app.get('/api/dependencies', async (request, reply) => {
    const { service, operations, ...given } = readParameters(DEPENDENCIES, request.query, NAMES)
    const range = rangeOf(given, kept())
    const byOperation = operations === 'true'
    return send(reply, { ...range, ...(await inTurn(() => dependencies(read, range, byOperation, service))) })
  })
  app.get('/api/series', async (request, reply) => {
    const { from, to, step: asked, ...subject } = readParameters(SERIES, request.query, NAMES)
    const times = kept()
    const range = rangeOf({ from, to }, times)
    const step = asked === undefined ? usualStep(range, SERIES_POINTS, times) : answeredStep(asked, range, times)
    const about = subjectOf(subject)
    return send(reply, { ...range, ...(await inTurn(() => series(read, range, step, about))) })
  })
  app.get('/api/usual', async (request, reply) => {
    const { service: services } = readParameters(USUAL, request.query, NAMES)
    const range = rangeOf({ from: { agoUs: Math.min(USUAL_US, activityDays * DAY_US) } }, kept())
    return send(reply, { ...range, ...(await inTurn(() => usual.of(range, services))) })
  })
  app.get('/api/changes', async (request, reply) => {
    const { service, ...given } = readParameters(CHANGES, request.query, NAMES)
    const times = comparedTimes(given, kept())
    const answer: ChangesAnswer = await inTurn(() => changes(read, times, service))
    return send(reply, answer)
  })
  app.get('/metrics/services', async (request, reply) => {
    const format = formatOf(request.headers.accept)
    reply.type(CONTENT_TYPES[format]).header('vary', 'accept')
    return inTurn(() => exposition.expose(format, kept().nowUs))
  })
}

function subjectOf({ service, name, side, caller, callee, callerName, calleeName }: z.output<typeof SERIES>): Subject {
  const isEdge = caller !== undefined && callee !== undefined
  const edgeGiven = [caller, callee, callerName, calleeName].some(value => value !== undefined)
  if (service !== undefined && !edgeGiven) return { service, name, side }
  if (isEdge && [service, name, side].every(value => value === undefined)) {
    return { caller, callee, callerName, calleeName }
  }
  throw bad('give either service, with name and side if you like, or caller and callee, with callerName and calleeName')
}

/** @throws HttpError */
function comparedTimes({ moment, span, from, to, beforeFrom, beforeTo }: Times, kept: Kept) {
  const { nowUs } = kept
  if (moment === undefined) {
    if (span !== undefined) throw bad('span needs a moment: give moment, or remove span')
    if (beforeFrom === undefined || beforeTo === undefined) {
      throw bad('give two times to compare: beforeFrom and beforeTo, with from and to; or a moment')
    }
    const before = rangeOf({ from: beforeFrom, to: beforeTo }, kept, ['beforeFrom', 'beforeTo'])
    const after = rangeOf({ from, to }, kept)
    // Where one time ends and the other begins, both would have the same minute, or hour: it is the later one's.
    const us = (time: Time | undefined) => (time === undefined ? nowUs : timeUs(time, nowUs))
    if (from !== undefined && us(beforeTo) <= us(from)) before.to = Math.min(before.to, after.from)
    else if (us(to) <= us(beforeFrom)) after.to = Math.min(after.to, before.from)
    if (before.from < after.to && after.from < before.to) throw bad('the times to compare overlap: choose others')
    for (const { from, to } of [before, after]) {
      if (from >= to) throw bad('the times to compare are in the same minute, or hour: choose longer ones')
    }
    return { before, after }
  }
  if ([from, to, beforeFrom, beforeTo].some(time => time !== undefined)) {
    throw bad("moment can't be combined with from, to, beforeFrom or beforeTo: give span for how much of both sides")
  }
  const atUs = timeUs(moment, nowUs)
  if (atUs > nowUs) throw bad('moment is in the future: give one that has something after it')
  const length = span ?? DEFAULT_SPAN_US
  const at = (us: number): Time => ({ atUs: Math.max(0, us) })
  const after = rangeOf({ from: at(atUs), to: at(atUs + length) }, kept, ['moment', 'moment + span'])
  if (after.from < length) throw bad('moment - span is before 1970: give a later moment, or a shorter span')
  // The time before ends where the other one begins: in the middle of a minute both would count it.
  const before = rangeOf({ from: at(after.from - length), to: at(after.from) }, kept, ['moment - span', 'moment'])
  return { before, after: { ...after, to: Math.max(after.from + 1, after.to) } }
}

type Times = Omit<z.output<typeof CHANGES>, 'service'>

function bad(problem: string): HttpError {
  return new HttpError(400, 'MILO_BAD_PARAMETER', problem)
}

/** Sends an answer in pieces, with turns of the event loop in between: the elements of its lists one by one. */
function send(reply: FastifyReply, answer: object): FastifyReply {
  return reply.type('application/json; charset=utf-8').send(Readable.from(pieces(answer), { highWaterMark: 1 }))
}

const ELEMENTS_AT_ONCE = 20

function* pieces(answer: object): Generator<string> {
  let before = '{'
  for (const [name, value] of Object.entries(answer)) {
    if (value === undefined) continue
    const head = `${before}${JSON.stringify(name)}:`
    before = ','
    if (!Array.isArray(value)) {
      yield head + JSON.stringify(value)
      continue
    }
    yield `${head}[`
    for (let i = 0; i < value.length; i += ELEMENTS_AT_ONCE) {
      const some = JSON.stringify(value.slice(i, i + ELEMENTS_AT_ONCE)).slice(1, -1)
      yield i === 0 ? some : `,${some}`
    }
    yield ']'
  }
  yield '}'
}
