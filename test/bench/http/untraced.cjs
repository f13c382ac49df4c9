'use strict'

exports.drain = async () => {}
exports.counts = () => ({ sent: 0, lost: 0 })
