// No server at all.
console.log('quiet and up');
