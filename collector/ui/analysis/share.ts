/** "12.3%" */
export function share(part: number, whole: number): string {
  if (whole === 0) return '–'
  const percent = (100 * part) / whole
  return `${percent > 0 && percent < 0.1 ? '< 0.1' : percent.toLocaleString('en-US', { maximumSignificantDigits: 3 })}%`
}
