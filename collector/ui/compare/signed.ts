/** Formats a change with its sign: "+12.3 ms", "−2"; empty for none. */
export function signed(change: number, format: (amount: number) => string): string {
  if (change === 0) return ''
  return `${change > 0 ? '+' : '−'}${format(Math.abs(change))}`
}
