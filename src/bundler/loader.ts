import type { Instrument } from '../patch/source'

/** webpack's loader, by whose file WebpackPlugin names it. */
module.exports = function (
  this: {
    resourcePath: string
    getOptions(): { look: Instrument }
    callback(error: null, ...results: unknown[]): void
  },
  source: string,
  ...rest: unknown[]
): void {
  this.callback(null, this.getOptions().look(source, this.resourcePath) ?? source, ...rest)
}
