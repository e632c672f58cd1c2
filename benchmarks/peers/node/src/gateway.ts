import { Body, Controller, Get, HttpCode, Module, Post, ServiceUnavailableException, UnprocessableEntityException } from '@nestjs/common';

import { eventSchema, type Event } from './events.js';
import { Publisher } from './publisher.js';

interface Rejected {
  index: number;
  reason: string;
}

const ERRORS_SHOWN = 100;

@Controller()
export class GatewayController {
  constructor(private readonly publisher: Publisher) {}

  @Get('readyz')
  ready(): string {
    return 'ok';
  }

  @Post('webhook/events')
  @HttpCode(202)
  async take(@Body() body: unknown): Promise<{ accepted: number; rejected: number; errors: Rejected[] }> {
    if (!Array.isArray(body)) throw new UnprocessableEntityException('the body is no array');
    const valid: Event[] = [];
    const errors: Rejected[] = [];
    body.forEach((event: unknown, index) => {
      const parsed = eventSchema.safeParse(event);
      if (parsed.success) valid.push(parsed.data);
      else errors.push({ index, reason: parsed.error.issues[0]?.message ?? '' });
    });
    try {
      await this.publisher.publish(valid);
    } catch (error) {
      throw new ServiceUnavailableException(String(error));
    }
    return { accepted: valid.length, rejected: errors.length, errors: errors.slice(0, ERRORS_SHOWN) };
  }
}

@Module({ controllers: [GatewayController], providers: [Publisher] })
export class GatewayModule {}
