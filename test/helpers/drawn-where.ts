import fc from 'fast-check'
import { type Condition, hasFewAlternatives, type SpanQuery, type Where } from '../../collector/src/query'

const ONCE = ['name', 'service', 'minDuration', 'maxDuration', 'error']

/** Conditions as the query language makes them of its text: nothing within another of its kind, nothing negated twice. */
export function drawnWhere(condition: fc.Arbitrary<Condition>): fc.Arbitrary<Where> {
  // fast-check's records may have no prototype.
  const leaf = condition.map(drawn => ({ ...drawn }))
  const { any, not } = fc.letrec<{ any: Where; all: Where; not: Where }>(tie => ({
    any: group('any', fc.oneof({ depthSize: 'small', withCrossShrink: true }, leaf, tie('not'), tie('all'))),
    all: group('all', fc.oneof({ depthSize: 'small', withCrossShrink: true }, leaf, tie('not'), tie('any'))),
    not: fc
      .oneof({ depthSize: 'small', withCrossShrink: true }, leaf, tie('any'), tie('all'))
      .filter(({ kind }) => kind !== 'error')
      .map(of => ({ kind: 'not' as const, of })),
  }))
  const own = leaf.filter(({ kind }) => kind === 'number' || kind === 'root')
  const part = fc.oneof(any, not, own)
  return fc.oneof(part, group('all', part))
}

function group(kind: 'any' | 'all', part: fc.Arbitrary<Where>): fc.Arbitrary<Where> {
  return fc
    .array(part, { minLength: 2, maxLength: 3 })
    .map(of => ({ kind, of: kind === 'any' ? of : withoutRepeats(of) }))
    .filter(({ of }) => of.length > 1)
}

/** A span has one name, and so on. */
function withoutRepeats(parts: Where[]): Where[] {
  return parts.filter(({ kind }, i) => !ONCE.includes(kind) || parts.findIndex(part => part.kind === kind) === i)
}

/** Adds to spans what the fields can't express, and spans above them. */
export function drawnSpan(span: fc.Arbitrary<SpanQuery>, where: fc.Arbitrary<Where>): fc.Arbitrary<SpanQuery> {
  const alone = fc
    .tuple(span, fc.option(where, { nil: undefined }))
    .map(([span, where]) => ({ ...span, ...(where && { where }) }))
  const at = fc.constantFrom('parent' as const, 'anywhere' as const)
  return fc
    .tuple(alone, fc.array(fc.tuple(at, alone.filter(hasConditions)), { maxLength: 2 }))
    .map(([last, links]) => {
      if (!hasConditions(last)) return last
      const [first, second] = links.map(([at, span]) => ({ at, span }))
      if (first === undefined) return last
      return { ...last, above: second === undefined ? first : { ...first, span: { ...first.span, above: second } } }
    })
    .filter(hasFewAlternatives)
}

function hasConditions({ annotations, ...others }: SpanQuery): boolean {
  return annotations.length > 0 || Object.values(others).some(value => value !== undefined)
}
