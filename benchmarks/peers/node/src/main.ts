// A gateway as one writes it with NestJS, zod and nats.js: `node dist/main.js fastify|express`.
import 'reflect-metadata';

import { NestFactory } from '@nestjs/core';
import { NestExpressApplication } from '@nestjs/platform-express';
import { FastifyAdapter, NestFastifyApplication } from '@nestjs/platform-fastify';

import { GatewayModule } from './gateway.js';

const LIMIT = 64 * 1024 * 1024;

async function main(): Promise<void> {
  const logger = ['error', 'warn'] as const;
  const port = Number(process.env.PORT);
  if (process.argv[2] === 'express') {
    const app = await NestFactory.create<NestExpressApplication>(GatewayModule, { logger: [...logger] });
    app.useBodyParser('json', { limit: LIMIT });
    await app.listen(port, '127.0.0.1');
  } else {
    const app = await NestFactory.create<NestFastifyApplication>(GatewayModule, new FastifyAdapter({ bodyLimit: LIMIT }), { logger: [...logger] });
    await app.listen(port, '127.0.0.1');
  }
}

void main();
