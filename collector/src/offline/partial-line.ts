/**
 * A line of partial results:
 *
 *     analysis.key │ tab │ value as JSON
 *
 * The key is written as in a string of JSON, so that it holds no tab and no end of line.
 */
export function partialLine(name: string, key: string, value: unknown): string {
  return `${name}.${JSON.stringify(key).slice(1, -1)}\t${JSON.stringify(value)}`
}

/** @throws if it isn't such a line */
export function readPartial(line: string): { name: string; key: string; value: unknown } {
  const [dot, tab] = [line.indexOf('.'), line.indexOf('\t')]
  if (dot === -1 || tab < dot) throw new RangeError('not a line of partial results')
  return {
    name: line.slice(0, dot),
    key: JSON.parse(`"${line.slice(dot + 1, tab)}"`) as string,
    value: JSON.parse(line.slice(tab + 1)) as unknown,
  }
}
