// Order statistics of a few numbers.

// The value below which the share (0 to 1) of the sorted values lies, interpolated between neighbours.
export function quantile(values, share) {
  if (values.length === 0) return NaN;
  const sorted = [...values].sort((a, b) => a - b);
  const at = (sorted.length - 1) * share;
  const low = Math.floor(at);
  const high = Math.ceil(at);
  return sorted[low] + (sorted[high] - sorted[low]) * (at - low);
}

export const median = (values) => quantile(values, 0.5);

// The smallest value that is not below the share of all values: for tails, where interpolation flatters.
export function percentile(values, share) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.ceil(sorted.length * share) - 1)];
}

export function summary(values) {
  return {
    rounds: values.length,
    median: median(values),
    low: quantile(values, 0.25),
    high: quantile(values, 0.75),
    min: Math.min(...values),
    max: Math.max(...values),
  };
}

// Jain's index: 1 when all have the same, 1/n when one has everything.
export function jain(values) {
  const sum = values.reduce((total, value) => total + value, 0);
  const squares = values.reduce((total, value) => total + value * value, 0);
  return squares === 0 ? 0 : sum ** 2 / (values.length * squares);
}

// The share of its throughput that somebody loses who needs `ratio` times as much CPU time for each request, of a core that is full.
export const lossOf = (ratio) => 1 - 1 / ratio;

const CONFIDENCE = 0.95;

// Of the median of what the values were drawn from, whatever their distribution: the narrowest [k-th smallest, k-th largest]
// that holds it with a probability of at least CONFIDENCE; where there are too few values for that, the smallest and the
// largest. Returns {low, high, confidence}.
export function medianInterval(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const count = sorted.length;
  let outside = 2 / 2 ** count; // the median lies below the smallest or above the largest
  let term = outside;
  let k = 0;
  for (; k + 1 < count / 2; k++) {
    term *= (count - k) / (k + 1);
    if (outside + term > 1 - CONFIDENCE) break;
    outside += term;
  }
  return { low: sorted[k], high: sorted[count - 1 - k], confidence: Math.max(0, 1 - outside) };
}
