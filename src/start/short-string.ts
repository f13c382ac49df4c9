/** Of a length that a name, or a path, has. */
export function isShortString(value: unknown): value is string {
  return typeof value === 'string' && value !== '' && value.length <= 256
}
