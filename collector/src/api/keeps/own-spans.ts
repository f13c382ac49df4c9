import type { SpanRecord } from 'milo/codec/span'
import { IdMap } from '../../record/ids'
import { CLIENT, HISTORY_KEY, type MissingHalf, SERVER, sideOf } from '../../trace'
import { hexId } from '../../trace/ids'
import { Turns } from '../../turns'
import { HELD_US, hostOf } from './histories'
import { time } from './why'

/**
 * What processes had forgotten of their own. A span is in the history once it has ended, so of a long request what ended early may be
 * overwritten when the trace is kept. Each process says with its first span since when its history has all of them: what is in that
 * process and began before may have had others below it. Only times of the same clock are compared.
 */

interface Part {
  records: SpanRecord[]
  /** Those with which processes of this service on this host began to answer. */
  firsts: SpanRecord[]
}

/** A part of a trace in one process has no more spans above each other, or isn't looked at further. */
const MAX_DEPTH = 1_000
/** A process that was asked remembers it at least so long, and doesn't begin anew. */
const ANSWERS_AGAIN_US = 30_000_000

export async function overwrittenInside(records: SpanRecord[]): Promise<MissingHalf[]> {
  const turns = new Turns()
  const parts = new Map<string, Part>()
  for (const record of records) {
    if (turns.over()) await turns.next()
    if (record.id === undefined) continue
    const key = JSON.stringify([record.service, hostOf(record)])
    const part = parts.get(key) ?? { records: [], firsts: [] }
    parts.set(key, part)
    part.records.push(record)
    if (Number(record.annotations?.get(HISTORY_KEY)) > 0) part.firsts.push(record)
  }
  const missing: MissingHalf[] = []
  for (const { records, firsts } of parts.values()) {
    if (turns.over()) await turns.next()
    for (const [top, beganUs] of firsts.length > 1 ? ofSeveral(records, firsts) : ofOne(records, firsts))
      if (startOf(top) < beganUs) missing.push(inside(top, beganUs))
  }
  return missing
}

/** Pairs the earliest span of a process with when its history began. */
function ofOne(records: SpanRecord[], [first]: SpanRecord[]): [SpanRecord, number][] {
  if (first === undefined || !isKnown(first)) return []
  return [[records.reduce((a, b) => (startOf(b) < startOf(a) ? b : a)), beganOf(first)]]
}

/** The same for several processes, or one that has answered again: it has sent what ended in between, but what it had forgotten before its first answer. */
function ofSeveral(records: SpanRecord[], firsts: SpanRecord[]): Map<SpanRecord, number> {
  const byId = new IdMap<SpanRecord>()
  for (const record of records)
    if (sideOf(record.events ?? []) !== CLIENT || !byId.has(record.id!)) byId.set(record.id!, record)
  const answeredUs = Math.min(...firsts.map(startOf))
  const found = new Map<SpanRecord, number>()
  for (const first of firsts) {
    if (startOf(first) > answeredUs + ANSWERS_AGAIN_US || !isKnown(first)) continue
    const top = topOf(first, byId)
    found.set(top, Math.min(beganOf(first), found.get(top) ?? Number.POSITIVE_INFINITY))
  }
  return found
}

/** What was sent had ended after its history began, or just before, unless a clock was set in between. */
function isKnown(record: SpanRecord): boolean {
  return (record.events ?? []).some(({ timestamp }) => Number(timestamp) >= beganOf(record) - HELD_US)
}

function beganOf({ annotations }: SpanRecord): number {
  return Number(annotations!.get(HISTORY_KEY))
}

function inside(record: SpanRecord, beganUs: number): MissingHalf {
  const { id, service = '' } = record
  const spanId = hexId(id!)
  const who = service || 'a service without a name'
  const detail = `what ended in ${who} before ${time(beganUs)} was overwritten; its part of this trace began at ${time(startOf(record))}`
  const host = hostOf(record) || null
  return { spanId, shownAt: spanId, side: 'inner', service: service || null, host, why: 'overwritten', detail }
}

/** Returns the first span above it that is in the same process: those of one service on one host may be of several. */
function topOf(record: SpanRecord, byId: Map<bigint, SpanRecord>): SpanRecord {
  let top = record
  for (let i = 0; i < MAX_DEPTH && sideOf(top.events ?? []) !== SERVER; i++) {
    const above = byId.get(top.parentId ?? 0n)
    if (above === undefined) break
    top = above
  }
  return top
}

/** In microseconds since the epoch; Infinity for what has no time. */
function startOf({ events = [] }: SpanRecord): number {
  let us = Number.POSITIVE_INFINITY
  for (const { timestamp } of events) us = Math.min(us, Number(timestamp ?? us))
  return us
}
