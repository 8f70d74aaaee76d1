// Comparisons as the report shows them: a row for a pair side by side, a table for all in turn.
import { inTurn, sideBySide } from './rounds.mjs';
import { median, medianInterval, summary } from './stats.mjs';

// The row of a to b, side by side.
export async function beside(bench, a, b, name) {
  bench.say(`side by side: ${a.title} and ${b.title}`);
  const { rounds, discarded, disturbed } = await sideBySide(bench, a, b);
  const ratios = rounds.map(({ us }) => us[0] / us[1]);
  const spread = summary(ratios);
  const row = { name, value: spread.median, unit: 'ratio', spread, interval: medianInterval(ratios), discarded, disturbed };
  bench.sayRow(row);
  return row;
}

// The table of all contestants in turn; ratios are to the first.
export async function inTurnTable(bench, contestants, title) {
  bench.say(`in turn: ${contestants.map((one) => one.title).join(', ')}`);
  return turnTableOf(bench, contestants, await inTurn(bench, contestants), title);
}

// The same of results that there are.
export function turnTableOf(bench, contestants, results, title) {
  const rows = contestants.map(({ name, title: ofRow }) => {
    const { us, ratios, idle, rate } = results.get(name);
    return { title: ofRow, spread: summary(us), ratios: summary(ratios), idle: median(idle), rate: median(rate) };
  });
  return { title, base: contestants[0].short ?? contestants[0].title, unit: bench.load.unit, contestants: rows };
}
