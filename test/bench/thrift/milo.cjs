'use strict'

// Under `-r milo/register` the program is the untraced one.
module.exports = { ...require('./untraced.cjs'), ...require('../milo.cjs') }
