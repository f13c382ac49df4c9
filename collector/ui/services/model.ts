/** "3.1/s", "12/min", "0.4/min" */
export function rateOf(spans: number, lengthUs: number): string {
  const perSecond = spans / (lengthUs / 1e6)
  const [n, unit] = perSecond >= 1 ? [perSecond, 's'] : [perSecond * 60, 'min']
  return `${n >= 100 ? Math.round(n).toLocaleString() : Number(n.toPrecision(2))}/${unit}`
}

/** "0.4%" */
export function shareOf(errors: number, spans: number): string {
  const share = spans === 0 ? 0 : (100 * errors) / spans
  return `${share === 0 || share >= 10 ? Math.round(share) : Number(share.toPrecision(2))}%`
}

/** Three classes of the share of failed calls, as colors and words have them. */
export function errorClass(errors: number, calls: number): 'low' | 'medium' | 'high' {
  const share = calls === 0 ? 0 : errors / calls
  return share >= 0.05 ? 'high' : share >= 0.01 ? 'medium' : 'low'
}
