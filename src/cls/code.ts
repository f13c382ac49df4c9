/** What is loaded where the application uses milo/cls, or MILO_CLS_HOOKED is set: dist/cls-code.js. */
export * as api from '../cls'
export { replaceClsHooked, restoreClsHooked } from './hooked'
