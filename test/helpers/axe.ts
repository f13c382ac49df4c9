import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import type { Page } from 'playwright-core'

const AXE = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8')

interface Violation {
  id: string
  impact: string
  nodes: { html: string; failureSummary: string }[]
}

/** Axe finds nothing of serious or critical impact on the page as it stands, in either theme. */
export async function nothingSerious(page: Page): Promise<void> {
  // By the debugger, which the page's CSP doesn't bind.
  await page.evaluate(AXE)
  for (const colorScheme of ['light', 'dark'] as const) {
    await page.emulateMedia({ colorScheme })
    const found = (await page.evaluate('axe.run(document, { resultTypes: ["violations"] })')) as {
      violations: Violation[]
    }
    const serious = found.violations
      .filter(({ impact }) => impact === 'serious' || impact === 'critical')
      .map(({ id, nodes }) => `${id}: ${nodes[0]!.html} ${nodes[0]!.failureSummary}`)
    assert.deepEqual(serious, [], `in the ${colorScheme} theme`)
  }
}
