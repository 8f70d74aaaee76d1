// Keys and certificates, made by the openssl command line when a test asks for them; none lies in the repository.
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { makeDirectory } from './process.mjs';

export class Pki {
  constructor() {
    this.directory = makeDirectory();
    this.serial = 0;
    this.root = this.#selfSigned('root', '/O=Test/CN=Root');
    this.rootFile = this.#file('root.pem');
  }

  #file(name) {
    return path.join(this.directory, name);
  }

  #openssl(...args) {
    return execFileSync('openssl', args, { cwd: this.directory, stdio: ['ignore', 'pipe', 'pipe'], encoding: 'utf8' });
  }

  #read(name) {
    return fs.readFileSync(this.#file(name), 'utf8');
  }

  #key(name) {
    this.#openssl('genpkey', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256', '-out', `${name}.key`);
  }

  #selfSigned(name, subject) {
    this.#key(name);
    const extensions = ['-addext', 'basicConstraints=critical,CA:TRUE', '-addext', 'keyUsage=critical,keyCertSign,cRLSign'];
    this.#openssl('req', '-x509', '-new', '-key', `${name}.key`, '-subj', subject, '-days', '30', ...extensions, '-out', `${name}.pem`);
    return { certificate: this.#read(`${name}.pem`), name };
  }

  // A certificate for these host names. keyOf: the one whose key it has too (a renewal). isClient: for callers.
  // {chain, key, certificate}: chain is the certificate and the root.
  issue(names, { subject = `/CN=${names[0]}`, days = 10, keyOf, isClient = false } = {}) {
    const name = `leaf-${++this.serial}`;
    if (keyOf) fs.copyFileSync(this.#file(`${keyOf.name}.key`), this.#file(`${name}.key`));
    else this.#key(name);
    fs.writeFileSync(
      this.#file(`${name}.ext`),
      `${names.length ? `subjectAltName=${names.map((one) => `DNS:${one}`).join(',')}\n` : ''}` +
        `basicConstraints=CA:FALSE\nextendedKeyUsage=${isClient ? 'clientAuth' : 'serverAuth'}\n`
    );
    this.#openssl('req', '-new', '-key', `${name}.key`, '-subj', subject, '-out', `${name}.csr`);
    const by = ['-CA', 'root.pem', '-CAkey', 'root.key', '-set_serial', String(1000 + this.serial)];
    this.#openssl('x509', '-req', '-in', `${name}.csr`, ...by, '-days', String(days), '-extfile', `${name}.ext`, '-out', `${name}.pem`);
    const certificate = this.#read(`${name}.pem`);
    return { name, certificate, chain: certificate + this.root.certificate, key: this.#read(`${name}.key`) };
  }

  // An OCSP response about it, DER in base64.
  ocsp(leaf, { isRevoked = false } = {}) {
    const serial = this.#openssl('x509', '-in', `${leaf.name}.pem`, '-noout', '-serial').trim().slice('serial='.length);
    const line = [isRevoked ? 'R' : 'V', '351231235959Z', isRevoked ? '200101000000Z' : '', serial, 'unknown', '/CN=x'];
    fs.writeFileSync(this.#file('index.txt'), `${line.join('\t')}\n`);
    this.#openssl('ocsp', '-issuer', 'root.pem', '-cert', `${leaf.name}.pem`, '-no_nonce', '-reqout', 'request.der');
    const signer = ['-index', 'index.txt', '-rsigner', 'root.pem', '-rkey', 'root.key', '-CA', 'root.pem'];
    this.#openssl('ocsp', ...signer, '-reqin', 'request.der', '-ndays', '1', '-respout', 'response.der');
    return fs.readFileSync(this.#file('response.der')).toString('base64');
  }

  fingerprint(leaf) {
    const text = this.#openssl('x509', '-in', `${leaf.name}.pem`, '-noout', '-fingerprint', '-sha256');
    return text.trim().split('=')[1].replaceAll(':', '').toLowerCase();
  }
}
