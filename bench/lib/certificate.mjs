// The servers' certificate: self-signed, ECDSA P-256 (RSA only to see that it is noticed), made anew for each run.
import fs from 'node:fs';
import path from 'node:path';
import { makeDirectory, outputOf } from './processes.mjs';
import { HOST, PARTY_DOMAIN } from './workload.mjs';

const DAYS = 30;

const EC = ['ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1'];
const RSA = ['rsa:2048'];

// {chain, key} as PEM texts; {chainFile, keyFile, bothFile} where they stand.
export function makeCertificate({ isRsa = false } = {}) {
  const directory = makeDirectory('certificate');
  const files = ['chain.pem', 'key.pem', 'both.pem'].map((name) => path.join(directory, name));
  const [chainFile, keyFile, bothFile] = files;
  const kind = ['-newkey', ...(isRsa ? RSA : EC), '-nodes', '-sha256'];
  const names = ['-subj', `/CN=${HOST}`, '-addext', `subjectAltName=DNS:${HOST},DNS:*.${PARTY_DOMAIN}`];
  const places = ['-keyout', keyFile, '-out', chainFile];
  outputOf('openssl', ['req', '-x509', ...kind, ...names, '-days', String(DAYS), ...places]);
  const [chain, key] = [chainFile, keyFile].map((file) => fs.readFileSync(file, 'latin1'));
  fs.writeFileSync(bothFile, chain + key, { mode: 0o600 });
  return { chain, key, chainFile, keyFile, bothFile };
}
