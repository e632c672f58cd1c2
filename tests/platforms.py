"""Bodies as ad platforms send them, from their documentation."""

from __future__ import annotations

from pathlib import Path

FILE = Path(__file__).resolve().parents[1] / "manifests" / "platforms.yaml"

# developers.facebook.com, "Webhooks for leadgen": its members, with numbers as they are sent
LEADGEN = (
    '{"object":"page","entry":[{"id":"153125381133","time":1438292065,"changes":[{"field":"leadgen","value":'
    '{"leadgen_id":123123123123,"page_id":123123123,"form_id":12312312312,"adgroup_id":12312312312,'
    '"ad_id":12312312312,"created_time":1440120384}},{"field":"leadgen","value":{"leadgen_id":"7","page_id":"8",'
    '"form_id":"9","created_time":1440120385}}]}]}'
)
# developers.tiktok.com/doc/webhooks-events, its examples
REMOVED = (
    '{"client_key": "bwo2m45353a6k85", "event": "authorization.removed", "create_time": 1615338610, '
    '"user_openid": "act.example12345Example12345Example", "content": "{\\"reason\\": 1 }"}'
)
PUBLISHED = REMOVED.replace("authorization.removed", "video.publish.completed").replace(
    '{\\"reason\\": 1 }', '{\\"share_id\\":\\"video.6974245311675353080.VDCxrcMJ\\"}'
)
# developers.facebook.com, Conversions API: the parameters of a server event
CONVERSIONS = (
    '{"data":[{"event_name":"Purchase","event_time":1633552688,"event_id":"event.id.123","action_source":"website",'
    '"user_data":{"em":["309a0a5c3e211326ae75ca18196d301a9bdbd1a882a4d2569511033da23f0abd"],"external_id":"5d41402a"},'
    '"custom_data":{"value":100.20,"currency":"USD","contents":[{"id":"product.id.123","quantity":1}]}},'
    '{"event_name":"PageView","event_time":1633552689123,"event_id":"2","user_data":{"external_id":"5d41402a"}}]}'
)
# TikTok Events API 2.0
TIKTOK_EVENTS = (
    '{"event_source":"web","event_source_id":"COQDA8RC77U2TMR44LI0","data":[{"event":"CompletePayment",'
    '"event_id":"1616318632825_357","event_time":1697783008,"user":{"external_id":"9f86d081","email":"60303ae2"},'
    '"properties":{"value":12,"currency":"EUR"}}]}'
)
