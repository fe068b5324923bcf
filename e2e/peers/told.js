// What happens in a page, for a test to ask for it: one thing after the other.

const told = []; // and not yet asked for
const asking = [];

function tell(text) {
  if (asking.length) asking.shift()(text);
  else told.push(text);
}

// next is the next thing that happens.
function next() {
  return new Promise((answer) => {
    if (told.length) answer(told.shift());
    else asking.push(answer);
  });
}
