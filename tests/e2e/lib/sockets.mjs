// Which process holds the other end of a connection on this machine: Linux's tables of sockets.
import fs from 'node:fs';

// Of 127.0.0.1:PORT in /proc/net/tcp.
const hexOf = (port) => `0100007F:${port.toString(16).toUpperCase().padStart(4, '0')}`;

// The fields of a connection's line.
function fieldsOf(localPort, remotePort) {
  for (const line of fs.readFileSync('/proc/net/tcp', 'latin1').split('\n').slice(1)) {
    const fields = line.trim().split(/\s+/);
    if (fields[1] === hexOf(localPort) && fields[2] === hexOf(remotePort)) return fields;
  }
  return null;
}

const inodeOf = (localPort, remotePort) => fieldsOf(localPort, remotePort)?.[9];

// Bytes that came from clientPort and that nobody has read yet.
export function unreadFrom(serverPort, clientPort) {
  const queues = fieldsOf(serverPort, clientPort)?.[4] ?? '0:0';
  return parseInt(queues.split(':')[1], 16);
}

function holds(pid, inode) {
  const directory = `/proc/${pid}/fd`;
  try {
    return fs.readdirSync(directory).some((fd) => isSocket(`${directory}/${fd}`, inode));
  } catch {
    return false; // ended meanwhile
  }
}

function isSocket(file, inode) {
  try {
    return fs.readlinkSync(file) === `socket:[${inode}]`;
  } catch {
    return false; // closed meanwhile
  }
}

// The one of `pids` that accepted the connection which comes from clientPort; undefined while none has.
export function ownerOf(serverPort, clientPort, pids) {
  const inode = inodeOf(serverPort, clientPort);
  return inode && inode !== '0' ? pids.find((pid) => holds(pid, inode)) : undefined;
}
