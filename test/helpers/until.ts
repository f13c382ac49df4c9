/** Resolves with what `probe` gives once it gives something; rejects when that takes longer than `limitMs`: it hangs. */
export async function until<T>(what: string, probe: () => T | Promise<T>, limitMs = 30_000): Promise<NonNullable<T>> {
  const giveUp = Date.now() + limitMs
  for (;;) {
    const value = await probe()
    if (value) return value as NonNullable<T>
    if (Date.now() > giveUp) throw new Error(`waited ${limitMs} ms in vain until ${what}`)
    await new Promise(resolve => setTimeout(resolve, 5))
  }
}
