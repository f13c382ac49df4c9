/** What is wrong with a store, found by reading it whole (milo-collector verify). */
export interface Finding {
  /** Of a file its pages, a message or a part of the index; of databases a row or a second. */
  where: string
  what: string
  repaired: boolean
}

export interface Verified {
  /** How many messages of a file, or records of databases, were read. */
  read: number
  findings: number
  /** How many of the findings. */
  repaired: number
}

export interface VerifyOptions {
  /** Whether what can be repaired is. */
  repair: boolean
  onFinding(finding: Finding): void
  /** Called with how much of the store is done. */
  progress(done: number, total: number): void
  log(message: string): void
}

/** Counts what is found, and passes it on. */
export function verification({ onFinding }: VerifyOptions): { verified: Verified; report(finding: Finding): void } {
  const verified: Verified = { read: 0, findings: 0, repaired: 0 }
  const report = (finding: Finding) => {
    verified.findings++
    if (finding.repaired) verified.repaired++
    onFinding(finding)
  }
  return { verified, report }
}
