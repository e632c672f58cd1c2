// The contract of an event in zod. Unknown members are kept, as EventPipeline keeps them.
import { z } from 'zod';

const instant = z.iso.datetime({ offset: true });
const key = z.string().max(256);
const amount = z.string().regex(/^\d{1,15}(\.\d{1,6})?$/).nullable();
const envelope = { eventId: z.string().min(1).max(128), timestamp: instant };
const userId = z.string().min(1).max(256);
const person = z.looseObject({
  userId,
  name: z.string(),
  age: z.int().min(0).max(150),
  gender: z.enum(['male', 'female', 'non-binary']),
  location: z.looseObject({ country: key, city: key }),
});
const creator = z.looseObject({ userId, username: z.string(), followers: z.int().min(0) });

const facebook = z.discriminatedUnion('funnelStage', [
  z.looseObject({
    ...envelope,
    source: z.literal('facebook'),
    funnelStage: z.literal('top'),
    eventType: z.enum(['ad.view', 'page.like', 'comment', 'video.view']),
    data: z.looseObject({
      user: person,
      engagement: z.looseObject({
        actionTime: instant,
        referrer: z.enum(['newsfeed', 'marketplace', 'groups']),
        videoId: key.nullable(),
      }),
    }),
  }),
  z.looseObject({
    ...envelope,
    source: z.literal('facebook'),
    funnelStage: z.literal('bottom'),
    eventType: z.enum(['ad.click', 'form.submission', 'checkout.complete']),
    data: z.looseObject({
      user: person,
      engagement: z.looseObject({
        adId: key,
        campaignId: key,
        clickPosition: z.enum(['top_left', 'bottom_right', 'center']),
        device: z.enum(['mobile', 'desktop']),
        browser: z.enum(['Chrome', 'Firefox', 'Safari']),
        purchaseAmount: amount,
      }),
    }),
  }),
]);

const tiktok = z.discriminatedUnion('funnelStage', [
  z.looseObject({
    ...envelope,
    source: z.literal('tiktok'),
    funnelStage: z.literal('top'),
    eventType: z.enum(['video.view', 'like', 'share', 'comment']),
    data: z.looseObject({
      user: creator,
      engagement: z.looseObject({
        watchTime: z.number().min(0),
        percentageWatched: z.number().min(0).max(100),
        device: z.enum(['Android', 'iOS', 'Desktop']),
        country: key,
        videoId: key,
      }),
    }),
  }),
  z.looseObject({
    ...envelope,
    source: z.literal('tiktok'),
    funnelStage: z.literal('bottom'),
    eventType: z.enum(['profile.visit', 'purchase', 'follow']),
    data: z.looseObject({
      user: creator,
      engagement: z.looseObject({
        actionTime: instant,
        profileId: key.nullable(),
        purchasedItem: key.nullable(),
        purchaseAmount: amount,
      }),
    }),
  }),
]);

export const eventSchema = z.discriminatedUnion('source', [facebook, tiktok]);
export type Event = z.infer<typeof eventSchema>;
