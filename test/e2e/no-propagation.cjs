// For NODE_OPTIONS: the processes under milo/register send no trace along.
if (process.env.MILO_SERVICE !== undefined) process.env.MILO_PROPAGATION = 'off'
