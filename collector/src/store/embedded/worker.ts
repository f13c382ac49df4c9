import { workerData } from 'node:worker_threads'
import type { ThreadData } from './protocol'
import { reader } from './reader'
import { writer } from './writer'

const { role, options, pending } = workerData as ThreadData
if (role === 'writer') writer(options, pending)
else reader(options, pending)
