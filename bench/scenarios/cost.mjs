// What fairness and containment cost a request: everything on, to the bare relay; to the same build with all of it off that can be turned
// off; and each of these alone, in turn.
import { daemunMechanisms } from '../contestants/daemun.mjs';
import { relay } from '../contestants/relay.mjs';
import { beside, turnTableOf } from '../lib/comparison.mjs';
import { STARTS, inTurn } from '../lib/rounds.mjs';
import { median, summary } from '../lib/stats.mjs';

const AGAIN = 'same_again';
const CYCLES_PER_ROUND = 3;

// The medians of each start's slices: those of one start have its luck in common.
function byStart(values) {
  const length = values.length / STARTS;
  return Array.from({ length: STARTS }, (_, start) => median(values.slice(start * length, (start + 1) * length)));
}

// With everything on, to the same without one mechanism, slice by slice.
function mechanismRow(name, all, without) {
  const ratios = all.us.map((us, cycle) => us / without.us[cycle]);
  const starts = byStart(ratios).map((ratio) => ratio.toFixed(3));
  return { name: `cost_${name}`, value: median(ratios), unit: 'ratio', spread: summary(ratios), note: `by start: ${starts.join(', ')}` };
}

async function inTurnRows(bench, { all, without, none }) {
  const again = { ...all, name: 'daemun_again', title: `${all.title}, again` };
  const contestants = [all, again, ...without.map(({ contestant }) => contestant), none];
  bench.say(`in turn: ${contestants.map(({ title }) => title).join(', ')}`);
  const results = await inTurn({ ...bench, cyclesPerRound: CYCLES_PER_ROUND }, contestants);
  const others = [{ name: AGAIN, contestant: again }, ...without, { name: 'mechanisms_in_turn', contestant: none }];
  const rows = others.map(({ name, contestant }) => mechanismRow(name, results.get(all.name), results.get(contestant.name)));
  rows.forEach(bench.sayRow);
  return { rows, turns: [turnTableOf(bench, contestants, results, 'What fairness and containment cost')] };
}

export const cost = {
  name: 'cost',
  needsSubject: true,
  async run(bench) {
    const mechanisms = await daemunMechanisms(bench, bench.subject);
    const { all, none } = mechanisms;
    const isAsked = (name) => !bench.goals || bench.goals.has(name);
    const rows = [];
    if (isAsked('cost_ratio_relay')) rows.push(await beside(bench, all, relay, 'cost_ratio_relay'));
    if (isAsked('cost_mechanisms')) rows.push(await beside(bench, all, none, 'cost_mechanisms'));
    if (bench.goals) return { rows };
    const turns = await inTurnRows(bench, mechanisms);
    return { rows: [...rows, ...turns.rows], turns: turns.turns };
  },
};
