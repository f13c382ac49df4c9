// node check-packed.mjs TARBALL [ENTRY…]: prints what publint and are-the-types-wrong say about a packed package, one finding a line, in all
// ways in which TypeScript resolves modules. ENTRY: what a pattern in its exports stands for. A program, because tsx can't load
// are-the-types-wrong.
import { readFileSync } from 'node:fs'
import { checkPackage, createPackageFromTarballData } from '@arethetypeswrong/core'
import { publint } from 'publint'
import { formatMessage } from 'publint/utils'

const [tarball, ...includeEntrypoints] = process.argv.slice(2)
const bytes = new Uint8Array(readFileSync(tarball))

const { messages, pkg } = await publint({ pack: { tarball: bytes.buffer }, strict: true })
for (const message of messages) console.log(formatMessage(message, pkg, { color: false }) ?? message.code)

const checked = await checkPackage(createPackageFromTarballData(bytes), { includeEntrypoints })
if (checked.types) for (const problem of checked.problems) console.log(JSON.stringify(problem))
