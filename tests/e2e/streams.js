// SPDX-License-Identifier: Apache-2.0
// HTTP/2 streams that are long and go both ways at once, framed as gRPC frames its messages: a flag, four bytes of length.
//   node streams.js serve                                prints its port (h2c), ends when its input does
//   node streams.js talk PORT CA STREAMS MESSAGES SIZE   prints how many messages came back as they were sent
'use strict';
const http2 = require('http2');
const fs = require('fs');
const crypto = require('crypto');

function serve() {
    const server = http2.createServer();
    server.on('stream', (stream) => {
        stream.on('error', () => {});
        stream.respond({':status': 200, 'content-type': 'application/grpc'}, {waitForTrailers: true});
        stream.on('wantTrailers', () => stream.sendTrailers({'grpc-status': '0'}));
        stream.pipe(stream); // every message as it comes
    });
    server.listen(0, '127.0.0.1', () => console.log(server.address().port));
    process.stdin.resume().on('end', () => process.exit(0));
}

function framed(payload) {
    const head = Buffer.alloc(5);
    head.writeUInt32BE(payload.length, 1);
    return Buffer.concat([head, payload]);
}

// One message is under way at a time, and the next waits for its echo: a conversation.
function talk(client, messages, size) {
    return new Promise((resolve, reject) => {
        const stream = client.request({':method': 'POST', ':path': '/echo', 'content-type': 'application/grpc', te: 'trailers'});
        let pending = Buffer.alloc(0), sent, good = 0, status;
        const say = () => { sent = framed(crypto.randomBytes(1 + crypto.randomInt(size))); stream.write(sent); };
        stream.on('error', reject);
        stream.on('trailers', (headers) => { status = headers['grpc-status']; });
        stream.on('data', (data) => {
            pending = Buffer.concat([pending, data]);
            if (pending.length < sent.length)
                return;
            if (!pending.equals(sent))
                return reject(new Error('a message came back changed'));
            pending = Buffer.alloc(0);
            if (++good < messages)
                say();
            else
                stream.end();
        });
        stream.on('end', () => status === '0' ? resolve(good) : reject(new Error('no trailers')));
        say();
    });
}

function main() {
    const [, , what, port, ca, streams, messages, size] = process.argv;
    if (what === 'serve')
        return serve();
    const client = http2.connect(`https://localhost:${port}`, {ca: fs.readFileSync(ca), servername: 'localhost', lookup: (host, options, done) => {
        if (options.all)
            done(null, [{address: '127.0.0.1', family: 4}]);
        else
            done(null, '127.0.0.1', 4);
    }});
    const fail = (error) => { console.error(String(error)); process.exit(1); };
    client.on('error', fail);
    const all = Array.from({length: Number(streams)}, () => talk(client, Number(messages), Number(size)));
    Promise.all(all).then((counts) => { console.log(counts.reduce((a, b) => a + b)); client.close(); }, fail);
}

main();
