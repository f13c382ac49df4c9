export { seeded as dice } from '../../../helpers/seeded'

/** Returns a function that returns numbers of a normal distribution. */
export function normal(roll: () => number): () => number {
  return () => Math.sqrt(-2 * Math.log(1 - roll())) * Math.cos(2 * Math.PI * roll())
}
