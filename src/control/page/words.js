// SPDX-License-Identifier: Apache-2.0
// What the words of the document mean (docs/logging.md). Words that are not here are shown all the same.

const ENDS = {
  done: 'in an orderly way',
  client_truncated: 'the client closed without close_notify',
  client_reset: 'the client broke off',
  client_alert: 'the client sent a fatal alert',
  server_truncated: 'the server closed without close_notify',
  server_reset: 'the server broke off',
  server_alert: 'the server sent a fatal alert',
  server_protocol_error: 'the server broke the rules of TLS',
  server_untrusted: 'the server’s certificate was refused',
  server_handshake_failed: 'no TLS session with the server',
  server_unreachable: 'no server took the connection',
  servers_full: 'every server was full',
  queue_timeout: 'it waited too long for a server',
  proxy_header: 'no good PROXY header',
  client_limit: 'the client had too many',
  handshake_failed: 'no TLS session with the client',
  handshake_timeout: 'the handshake took too long',
  rejected: 'no route, or one that rejects',
  bad_request: 'no good HTTP request',
  idle_timeout: 'nothing passed for too long',
  half_closed_timeout: 'one direction ended, the other was silent',
  protocol_error: 'the client broke the rules of TLS',
  rekey_unsupported: 'keys changed, which this kernel can’t follow',
  key_limit: 'its key was used up',
  memory: 'no memory, or no buffers',
  retired: 'its certificate was retired',
  shutdown: 'cut when Ringbolt ended',
  internal: 'a fault of Ringbolt: please report it',
  worker_died: 'its worker died',
};
// How connections end when nothing is wrong.
const GOOD_ENDS = ['done', 'idle_timeout', 'retired', 'shutdown', 'rejected'];

const WHY_USER = {
  off: 'switched off',
  unsupported: 'this kernel can’t',
  not_tcp: 'no TCP',
  small_records: 'the client takes only small records',
  not_yet: 'too few bytes for it to be worth it',
  failed: 'the kernel refused',
};

const LIMITS = {
  connections: 'limits.connections',
  listener_connections: 'connections of a listener',
  handshakes_per_second: 'new handshakes a second',
  descriptors: 'descriptors that connections need',
  system: 'descriptors or memory, when accepting',
  connections_per_client: 'connections of one client',
  handshakes_per_second_per_client: 'new handshakes a second of one client',
};

function isFailure(end) {
  return !GOOD_ENDS.includes(end);
}
