// The marks. A value is kept when it is at most its goal; with isLeast, when it is at least that.

// Of the victim under a flood: to itself alone, and to the victims of the peers in the same round.
const floodGoals = (kind) => [
  { name: `${kind}_p50_ratio`, unit: 'ratio', goal: 1.3, scenario: 'flood' },
  { name: `${kind}_p99_ratio`, unit: 'ratio', goal: 1.5, scenario: 'flood' },
  ...['nginx', 'haproxy'].flatMap((peer) => [
    { name: `${kind}_p50_to_${peer}`, unit: 'ratio', goal: 1 / 8, scenario: 'flood' },
    { name: `${kind}_p99_to_${peer}`, unit: 'ratio', goal: 1 / 5, scenario: 'flood' },
  ]),
  { name: `${kind}_victim_errors`, unit: 'requests', goal: 0, scenario: 'flood' },
];

export const GOALS = [
  { name: 'cpu_ratio_nginx_plain', unit: 'ratio', goal: 0.87, scenario: 'cpu' },
  { name: 'cpu_ratio_haproxy_key_limit', unit: 'ratio', goal: 0.68, scenario: 'cpu' },
  { name: 'cpu_ratio_relay', unit: 'ratio', goal: 1.3, scenario: 'cpu' },
  { name: 'idle_connection_user_bytes', unit: 'bytes', goal: 2048, scenario: 'idle' },
  { name: 'tls_cpu_ratio_nginx', unit: 'ratio', goal: 0.92, scenario: 'tls' },
  { name: 'handshake_cpu_ratio_nginx', unit: 'ratio', goal: 1.05, scenario: 'handshake' },
  { name: 'resume_cpu_ratio_nginx', unit: 'ratio', goal: 1.05, scenario: 'resume' },
  { name: 'h2_cpu_ratio_nginx', unit: 'ratio', goal: 0.75, scenario: 'h2' },
  { name: 'h2_cpu_ratio_haproxy', unit: 'ratio', goal: 0.75, scenario: 'h2' },
  { name: 'idle_tls_memory_ratio_nginx', unit: 'ratio', goal: 1, scenario: 'idle-tls' },
  { name: 'idle_ws_memory_ratio_nginx', unit: 'ratio', goal: 1, scenario: 'idle-ws' },
  { name: 'h2_attack_p99_ratio', unit: 'ratio', goal: 2, scenario: 'h2-attack' },
  { name: 'h2_attack_unanswered', unit: 'requests', goal: 0, scenario: 'h2-attack' },
  ...floodGoals('flood'),
  ...floodGoals('flood_refused'),
  { name: 'flood_aggressor_loss', unit: 'ratio', goal: 0.05, scenario: 'flood' },
  { name: 'hang_p50_ratio', unit: 'ratio', goal: 1.1, scenario: 'hang' },
  { name: 'hang_p99_to_interval', unit: 'ratio', goal: 1, scenario: 'hang' },
  { name: 'hang_victim_errors', unit: 'requests', goal: 0, scenario: 'hang' },
  { name: 'many_jain', unit: 'ratio', goal: 0.99, isLeast: true, scenario: 'many' },
  { name: 'many_unanswered', unit: 'requests', goal: 0, scenario: 'many' },
  { name: 'slow_p50_ratio', unit: 'ratio', goal: 1.3, scenario: 'slow' },
  { name: 'slow_p99_ratio', unit: 'ratio', goal: 1.5, scenario: 'slow' },
  { name: 'slow_victim_errors', unit: 'requests', goal: 0, scenario: 'slow' },
  { name: 'slow_handshakes_p50_ratio', unit: 'ratio', goal: 2, scenario: 'slow' },
  { name: 'slow_handshakes_unserved', unit: 'requests', goal: 0, scenario: 'slow' },
  { name: 'uneven_victim_errors', unit: 'requests', goal: 0, scenario: 'uneven' },
  { name: 'breaker_failed_per_worker', unit: 'requests', goal: 10, scenario: 'breaker' },
  { name: 'breaker_probes_to_close', unit: 'requests', goal: 1, scenario: 'breaker' },
  { name: 'breaker_failed_after_healing', unit: 'requests', goal: 0, scenario: 'breaker' },
  { name: 'breaker_neighbour_errors', unit: 'requests', goal: 0, scenario: 'breaker' },
  { name: 'cell_neighbour_errors', unit: 'requests', goal: 0, scenario: 'cell' },
  { name: 'cost_ratio_relay', unit: 'ratio', goal: 1.35, scenario: 'cost' },
  { name: 'cost_mechanisms', unit: 'ratio', goal: 1.1, scenario: 'cost' },
  { name: 'change_live_p99_ms', unit: 'ms', goal: 20, scenario: 'change' },
  { name: 'change_failed_requests', unit: 'requests', goal: 0, scenario: 'change' },
];

const rounded = (value) => (value === null ? null : Number(value.toFixed(4)));

// Joins what was measured, by name, with the marks. What was not measured has the value null and is not ok.
export function judge(measured, goals = GOALS) {
  return goals.map(({ name, unit, goal, isLeast }) => {
    const value = measured.get(name)?.value ?? null;
    const ok = value !== null && (isLeast ? value >= goal : value <= goal);
    return { name, value: rounded(value), unit, goal, ...(isLeast ? { isLeast } : {}), ok };
  });
}
