// Events into JetStream, each acknowledged before the request is answered.
import { jetstream, type JetStreamClient, type PubAck } from '@nats-io/jetstream';
import { connect, type NatsConnection } from '@nats-io/transport-node';
import { Injectable, type OnModuleDestroy, type OnModuleInit } from '@nestjs/common';

import type { Event } from './events.js';

const PACKED_BYTES = 512 * 1024;
const AT_ONCE = 1000; // without a bound, 25,000 publishes at once run into their timeouts

@Injectable()
export class Publisher implements OnModuleInit, OnModuleDestroy {
  private connection!: NatsConnection;
  private stream!: JetStreamClient;
  private readonly prefix = process.env.SUBJECT_PREFIX ?? '';
  private readonly packed = process.env.PACKED === '1';

  async onModuleInit(): Promise<void> {
    this.connection = await connect({ servers: process.env.NATS_URL });
    this.stream = jetstream(this.connection, { timeout: 10_000 });
  }

  async onModuleDestroy(): Promise<void> {
    await this.connection.drain();
  }

  async publish(events: Event[]): Promise<void> {
    await (this.packed ? this.publishPacked(events) : this.publishEach(events));
  }

  // As such systems do it: a message an event.
  private async publishEach(events: Event[]): Promise<void> {
    for (let start = 0; start < events.length; start += AT_ONCE) {
      await Promise.all(
        events
          .slice(start, start + AT_ONCE)
          .map((event) => this.stream.publish(this.prefix + event.source, JSON.stringify(event))),
      );
    }
  }

  // As EventPipeline does it: arrays of at most 512 KiB.
  private async publishPacked(events: Event[]): Promise<void> {
    const packs = new Map<string, { texts: string[]; size: number }>();
    const acknowledgements: Promise<PubAck>[] = [];
    const send = (source: string, texts: string[]) =>
      acknowledgements.push(this.stream.publish(this.prefix + source, `[${texts.join(',')}]`));
    for (const event of events) {
      const text = JSON.stringify(event);
      let pack = packs.get(event.source);
      if (pack && pack.size + text.length > PACKED_BYTES - 2) {
        send(event.source, pack.texts);
        pack = undefined;
      }
      if (!pack) packs.set(event.source, (pack = { texts: [], size: 0 }));
      pack.texts.push(text);
      pack.size += text.length + 1;
    }
    for (const [source, pack] of packs) send(source, pack.texts);
    await Promise.all(acknowledgements);
  }
}
