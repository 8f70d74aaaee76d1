// The marks. A value is kept when it is at most its goal.

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
  { name: 'change_live_p99_ms', unit: 'ms', goal: 20, scenario: 'change' },
  { name: 'change_failed_requests', unit: 'requests', goal: 0, scenario: 'change' },
];

const rounded = (value) => (value === null ? null : Number(value.toFixed(4)));

// Joins what was measured, by name, with the marks. What was not measured has the value null and is not ok.
export function judge(measured, goals = GOALS) {
  return goals.map(({ name, unit, goal }) => {
    const value = measured.get(name)?.value ?? null;
    return { name, value: rounded(value), unit, goal, ok: value !== null && value <= goal };
  });
}
