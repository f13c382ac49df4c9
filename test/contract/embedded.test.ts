import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openEmbedded } from '../../collector/src/store/embedded'
import { storeContract } from './store-contract'

storeContract('embedded', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'milo-embedded-'))
  const path = join(folder, 'milo.db')
  return {
    open: async () => openEmbedded({ path }, () => {}),
    remove: async () => rmSync(folder, { recursive: true }),
  }
})
