"""The defences of chat/, in the form of `tests.attacks.defences`."""

from __future__ import annotations

DEFENCES = {
    "chat-account": "the account of an address, which its connections share",
    "chat-addresses": "the bound on addresses that are remembered",
    "chat-clean": "cleaning a text in one pass",
    "chat-debt": "the check whether an address has used up its credits, before each request",
    "chat-deliveries": "the credits for what many get",
    "chat-fetched": "the check of what an address has fetched lately",
    "chat-files": "the bound on the files that are kept",
    "chat-handshake": "the check whether an address has used up its credits, before a connection",
    "chat-hosts": "the names of a server that listens on this machine only",
    "chat-id-length": "the maximum length of an id, before it is cleaned",
    "chat-ipv6-network": "the network by which an address of IPv6 is counted",
    "chat-largest-room": "the choice of the room that loses a message",
    "chat-late-uploads": "the check for files that don't come on",
    "chat-message-size": "MAX_MESSAGE_BYTES: how long a message may be",
    "chat-name-length": "the maximum length of a name, before it is cleaned",
    "chat-null-origin": "the check where the browser of a page from a file runs",
    "chat-page": "PAGE_BYTES: how long a page of the history may be",
    "chat-places": "how many clients one address may have",
    "chat-redis-files": "the bound on the files that Redis keeps",
    "chat-redis-messages": "the bound on the messages that Redis keeps",
    "chat-redis-page": "fetching a page of the history from Redis",
    "chat-redis-piece": "fetching a piece of a file from Redis",
    "chat-refusals": "the check whether a client was refused too often",
    "chat-retry": "the growing time that a refused client has to wait",
    "chat-room-of-address": "the bound on clients of one address in a room",
    "chat-stored-files": "the check of the files that an address has stored lately",
    "chat-stored-text": "the check of the messages that an address has stored lately",
    "chat-text-length": "the maximum length of a text, before it is cleaned",
    "chat-uploads": "the bound on files on their way",
}
"""What is marked with each name."""

FLOODS = "chat/test_floods.py"
FILES = "chat/test_files.py"
CREDITS = "chat/test_credits.py"
REDIS = "cluster/test_bounds.py"

CLEANED_WHOLE = (
    ("chat-clean", '"".join(_CONTROLS.sub("", character) for character in text)'),
    ("chat-id-length", "clean(string(text))[:MAX_ID_CHARS]"),
    ("chat-name-length", "clean(string(name))"),
    ("chat-text-length", "True"),
)
"""Cleaning all of a text, character by character."""

TESTS = [  # each with the defences that are taken out for it, some with a replacement
    ("test_governed.py::test_crowd[chat-unfinished]", ("chat-message-size", "5<<20")),
    ("test_governed.py::test_crowd[chat-requests]", "chat-debt"),
    (f"{FLOODS}::test_no_request_costs_much[an id of 65,000]", *CLEANED_WHOLE),
    (f"{FLOODS}::test_no_request_costs_much[a text of 65,000]", *CLEANED_WHOLE),
    (f"{FLOODS}::test_no_request_costs_much[a name of 65,000]", *CLEANED_WHOLE),
    (
        f"{FLOODS}::test_clients_that_have_not_said_hello_hold_little",
        ("chat-message-size", "5<<20"),
    ),
    (f"{FLOODS}::test_a_client_that_is_refused_too_often_is_closed", "chat-refusals"),
    (f"{FLOODS}::test_a_flood_of_requests_ends_in_a_close", "chat-refusals"),
    (f"{FLOODS}::test_before_hello_it_ends_so_too", "chat-refusals"),
    (f"{FLOODS}::test_a_client_that_waits_as_it_is_told_is_never_closed", "chat-retry"),
    (f"{FLOODS}::test_a_reconnect_does_not_renew_them", ("chat-account", "type({})()")),
    (f"{FLOODS}::test_many_connections_share_them", "chat-debt"),
    (f"{FLOODS}::test_what_many_get_costs_more", "chat-deliveries"),
    (f"{FLOODS}::test_a_plain_client_that_only_connects_pays_too", "chat-handshake"),
    (f"{CREDITS}::test_what_an_address_counts_as", ("chat-ipv6-network", "str(ip)")),
    (f"{CREDITS}::test_an_address_keeps_its_account", "chat-addresses"),
    (
        f"{FLOODS}::test_a_flood_from_one_address_does_not_push_out_what_others_said",
        "chat-stored-text",
    ),
    (
        "chat/test_store.py::test_a_flood_in_one_room_deletes_nothing_in_others",
        ("chat-largest-room", '"SELECT room FROM messages ORDER BY seq LIMIT 1"'),
    ),
    ("chat/test_store.py::test_files_are_bounded", "chat-files"),
    (f"{FLOODS}::test_one_address_can_not_fill_a_room", "chat-room-of-address"),
    (f"{FLOODS}::test_one_address_can_not_take_all_places", ("chat-places", "max_clients")),
    (f"{FILES}::test_files_of_an_address_are_bounded_by_the_hour", "chat-stored-files"),
    (f"{FILES}::test_fetching_is_bounded_by_the_hour", "chat-fetched"),
    (f"{FILES}::test_files_on_their_way_are_bounded", "chat-uploads"),
    (f"{FILES}::test_files_that_do_not_come_on_make_room_for_others", "chat-late-uploads"),
    ("chat/test_messages.py::test_of_long_messages_a_page_has_few", "chat-page"),
    ("chat/test_server.py::test_which_pages_may_connect", "chat-null-origin"),
    ("chat/test_server.py::test_which_pages_may_connect", ("chat-hosts", "names")),
    (f"{REDIS}::test_messages_are_bounded", ("chat-redis-messages", "1 << 60, KNOWN_SECONDS")),
    (f"{REDIS}::test_files_are_bounded", ("chat-redis-files", "1 << 60")),
    (
        f"{REDIS}::test_a_page_and_a_piece_are_all_that_leaves_redis",
        ("chat-redis-piece", "pipeline.getrange(key, 0, -1)"),
    ),
    (
        f"{REDIS}::test_a_page_and_a_piece_are_all_that_leaves_redis",
        ("chat-redis-page", "self._try(self._page, room, highest, lowest, count, 1 << 60)"),
    ),
]
