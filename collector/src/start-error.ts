/** The collector can't start: one sentence with the remedy. */
export class StartError extends Error {}
