// For --require: the wall clock of this process and its threads is so many hours behind, so that what is stored now is of an hour that is over.
const { now } = Date
Date.now = () => now() - Number(process.env.MILO_BENCH_HOURS_AGO) * 3600e3
