"""Errors in the shapes of many providers: what each means for a picture and for the run."""

from __future__ import annotations

from typing import Any

import pytest

from facevlm.backends.remote import meanings, replies
from facevlm.backends.remote.dialects.chat import ChatCompletions
from facevlm.backends.remote.exchange import Meaning

CHAT = ChatCompletions()


def openai(message: str, code: Any = None, kind: Any = "invalid_request_error", param: Any = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def gemini(code: int, message: str, status: str, *details: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"error": {"code": code, "message": message, "status": status, "details": list(details)}}]


def quota_of(name: str) -> dict[str, Any]:
    return {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": name}]}


QUOTA = "You exceeded your current quota, please check your plan and billing details."
CLOUDFLARE = (
    "<!DOCTYPE html><html><head><title>api.example | 524: A timeout occurred</title><style>a{b:c}</style></head>"
    "<body><h1>Error 524</h1></body></html>"
)
BY_STATUS: list[tuple[str, int, Any, Meaning]] = [
    (
        "openai flags a prompt",
        400,
        openai("Invalid prompt: it was flagged as violating our usage policy.", "invalid_prompt"),
        "declined",
    ),
    (
        "openai's images",
        400,
        openai("Your request was rejected by the safety system.", "moderation_blocked"),
        "declined",
    ),
    ("openai takes no key", 401, openai("Incorrect API key provided: sk-x.", "invalid_api_key"), "key"),
    (
        "openai's country",
        403,
        openai("Country, region, or territory not supported", "unsupported_country_region_territory"),
        "key",
    ),
    ("openai wants money", 429, openai(QUOTA, "insufficient_quota", "insufficient_quota"), "quota"),
    (
        "openai per minute",
        429,
        openai("Rate limit reached for m on requests per min (RPM): Limit 3. Upgrade today.", "rate_limit_exceeded"),
        "busy",
    ),
    (
        "openai per day",
        429,
        openai("Rate limit reached for m on requests per day (RPD): Limit 200, Used 200.", "rate_limit_exceeded"),
        "day",
    ),
    (
        "openai has no model",
        404,
        openai("The model 'm' does not exist or you do not have access to it.", "model_not_found"),
        "missing",
    ),
    ("openai's reasoning models", 403, openai("You are not allowed to request logprobs from this model"), "forbidden"),
    (
        "azure filters",
        400,
        {
            "error": {
                "message": "The response was filtered",
                "code": "content_filter",
                "innererror": {"code": "ResponsibleAIPolicyViolation"},
            }
        },
        "declined",
    ),
    (
        "azure has no deployment",
        404,
        {"error": {"code": "DeploymentNotFound", "message": "The API deployment does not exist."}},
        "missing",
    ),
    (
        "azure waits",
        429,
        {"error": {"code": "429", "message": "Requests have exceeded call rate limit. Please retry after 6 seconds."}},
        "busy",
    ),
    (
        "gemini per minute",
        429,
        gemini(429, QUOTA, "RESOURCE_EXHAUSTED", quota_of("GenerateContentInputTokensPerModelPerMinute-FreeTier")),
        "busy",
    ),
    (
        "gemini per day",
        429,
        gemini(429, QUOTA, "RESOURCE_EXHAUSTED", quota_of("GenerateRequestsPerDayPerProjectPerModel-FreeTier")),
        "day",
    ),
    (
        "gemini takes no key",
        400,
        gemini(400, "API key not valid.", "INVALID_ARGUMENT", {"reason": "API_KEY_INVALID"}),
        "key",
    ),
    (
        "gemini is overloaded",
        503,
        gemini(503, "The model is overloaded. Please try again later.", "UNAVAILABLE"),
        "trouble",
    ),
    ("gemini scores nothing", 400, gemini(400, "Logprobs is not enabled for models/g", "INVALID_ARGUMENT"), "request"),
    (
        "anthropic is overloaded",
        529,
        {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
        "trouble",
    ),
    (
        "anthropic wants money",
        400,
        {
            "type": "error",
            "error": {"type": "invalid_request_error", "message": "Your credit balance is too low to access the API."},
        },
        "quota",
    ),
    (
        "anthropic blocks",
        400,
        {
            "type": "error",
            "error": {"type": "invalid_request_error", "message": "Output blocked by content filtering policy"},
        },
        "declined",
    ),
    (
        "dashscope inspects",
        400,
        openai("Input data may contain inappropriate content.", "data_inspection_failed", "data_inspection_failed"),
        "declined",
    ),
    (
        "dashscope in camel case",
        400,
        {"code": "DataInspectionFailed", "message": "Output data", "request_id": "1"},
        "declined",
    ),
    (
        "dashscope wants money",
        400,
        openai("Access denied, please make sure your account is in good standing.", "Arrearage"),
        "quota",
    ),
    ("deepseek declines", 400, openai("Content Exists Risk"), "declined"),
    ("deepseek wants money", 402, openai("Insufficient Balance"), "quota"),
    (
        "zhipu declines",
        400,
        {
            "contentFilter": [{"level": 1}],
            "error": {"code": "1301", "message": "系统检测到输入内容可能包含不安全或敏感内容"},
        },
        "declined",
    ),
    ("zhipu wants money", 429, {"error": {"code": "1113", "message": "您的账户已欠费，请充值后重试。"}}, "quota"),
    ("chinese load", 429, {"error": {"message": "您的账户已达到速率限制，请您控制请求频率"}}, "busy"),
    ("volcengine declines", 400, openai("The request failed", "SensitiveContentDetected"), "declined"),
    ("moonshot wants money", 429, openai("Your account is suspended", None, "exceeded_current_quota_error"), "quota"),
    (
        "mistral knows no such field",
        422,
        {
            "object": "error",
            "message": {
                "detail": [
                    {
                        "type": "extra_forbidden",
                        "loc": ["body", "logprobs"],
                        "msg": "Extra inputs are not permitted",
                        "input": True,
                    }
                ]
            },
        },
        "request",
    ),
    ("mistral waits", 429, {"message": "Requests rate limit exceeded"}, "busy"),
    (
        "vllm refuses",
        400,
        {
            "object": "error",
            "message": "top_logprobs must be at most 5",
            "type": "BadRequestError",
            "param": None,
            "code": 400,
        },
        "request",
    ),
    (
        "vllm has no model",
        404,
        {"object": "error", "message": "The model `m` does not exist.", "type": "NotFoundError", "code": 404},
        "missing",
    ),
    ("sglang has no such thing", 501, {"detail": "not implemented"}, "request"),
    ("ollama has no model", 404, openai('model "m" not found, try pulling it first', None, "api_error"), "missing"),
    ("lm studio", 400, {"error": "'response_format.type' must be 'json_schema' or 'text'"}, "request"),
    (
        "llama.cpp loads",
        503,
        {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}},
        "trouble",
    ),
    (
        "llama.cpp cannot",
        501,
        {"error": {"code": 501, "message": "This server does not support logprobs", "type": "not_supported_error"}},
        "request",
    ),
    (
        "openrouter moderates",
        403,
        {
            "error": {
                "code": 403,
                "message": "m requires moderation on X. Your input was flagged",
                "metadata": {"reasons": ["sexual"], "flagged_input": "What"},
            }
        },
        "declined",
    ),
    (
        "openrouter per day",
        429,
        {"error": {"code": 429, "message": "Rate limit exceeded: free-models-per-day. Add 10 credits"}},
        "day",
    ),
    (
        "openrouter per minute",
        429,
        {"error": {"code": 429, "message": "Rate limit exceeded: free-models-per-min."}},
        "busy",
    ),
    ("openrouter wants money", 402, {"error": {"code": 402, "message": "This request requires more credits"}}, "quota"),
    (
        "litellm passes a refusal on",
        400,
        openai("litellm.BadRequestError: ContentPolicyViolationError: filtered", "400", None),
        "declined",
    ),
    ("litellm's budget", 400, openai("Budget has been exceeded! Current cost: 1", "400", "budget_exceeded"), "quota"),
    (
        "groq per day",
        429,
        openai(
            "Rate limit reached on tokens per day (TPD): Limit 100000. Upgrade to Dev Tier today",
            "rate_limit_exceeded",
            "tokens",
        ),
        "day",
    ),
    (
        "groq per minute",
        429,
        openai(
            "Rate limit reached on tokens per minute (TPM): Limit 6000. Upgrade to Dev Tier today",
            "rate_limit_exceeded",
            "tokens",
        ),
        "busy",
    ),
    (
        "groq repeats what the model said",
        400,
        {
            "error": {
                "message": "Failed to generate JSON.",
                "code": "json_validate_failed",
                "failed_generation": "sensitive content",
            }
        },
        "request",
    ),
    ("together's picture", 422, openai("Input validation error: image too large"), "request"),
    (
        "fireworks",
        400,
        {"error": {"object": "error", "type": "invalid_request_error", "message": "logprobs must be at most 5"}},
        "request",
    ),
    (
        "xai declines",
        403,
        {"code": "403", "error": "Content violates usage guidelines. Failed check: SAFETY_CHECK_TYPE_BIO"},
        "declined",
    ),
    (
        "xai wants money",
        429,
        {"error": "Your team has used all available credits or reached its monthly spending limit."},
        "quota",
    ),
    ("google's older quota", 403, {"error": {"code": 403, "errors": [{"reason": "userRateLimitExceeded"}]}}, "busy"),
    ("bedrock behind a gateway", 400, {"error": {"type": "ThrottlingException", "message": "slow"}}, "busy"),
    ("a moderation that is down", 503, openai("content moderation is overloaded, try again"), "trouble"),
    ("a classifier of pictures", 422, {"detail": "NSFW content detected"}, "declined"),
    ("terms of a service", 400, openai("The image violates our terms of service"), "declined"),
    ("a policy by name", 400, openai("Request violates the Acceptable Use Policy"), "declined"),
    ("laws", 451, openai("Unavailable For Legal Reasons"), "declined"),
    ("people in a picture", 400, openai("I cannot process pictures of identifiable people"), "declined"),
    ("a guard before a model", 403, openai("Request blocked by Lakera Guard"), "declined"),
    ("dashscope's older code", 400, {"code": "InvalidParameter.DataInspection", "message": "x"}, "declined"),
    ("a policy in Spanish", 400, openai("Bloqueado por la política de contenido"), "declined"),
    ("terms that nobody agreed to", 403, openai("Accept the terms of service of this model first"), "forbidden"),
    ("google's prepayment", 429, gemini(429, "Your prepayment credits are depleted.", "RESOURCE_EXHAUSTED"), "quota"),
    (
        "google's billing",
        403,
        gemini(403, "This API method requires billing to be enabled.", "PERMISSION_DENIED"),
        "quota",
    ),
    (
        "google's countries",
        400,
        gemini(400, "User location is not supported for the API use.", "FAILED_PRECONDITION"),
        "key",
    ),
    ("openrouter's key", 403, openai("Key limit exceeded (total limit)", 403), "quota"),
    ("a token of a gateway", 403, openai("Your authentication token has expired"), "key"),
    ("openrouter has no model", 400, openai("org/m is not a valid model ID", 400), "missing"),
    ("deepseek has no model", 400, openai("Model Not Exist"), "missing"),
    ("bedrock has no model", 400, {"message": "The provided model identifier is invalid."}, "missing"),
    ("a page of a gateway", 524, CLOUDFLARE, "trouble"),
    ("another address", 308, "", "moved"),
    ("a bare status", 403, "", "forbidden"),
]


@pytest.mark.parametrize(("name", "status", "body", "means"), BY_STATUS, ids=[row[0] for row in BY_STATUS])
def test_errors_by_status(name: str, status: int, body: Any, means: Meaning) -> None:
    fault = meanings.of_status(body, status)
    assert fault.means == means
    assert fault.reason.startswith(f"HTTP {status}: ")


INSIDE: list[tuple[str, Any, Meaning]] = [
    ("a number", {"error": {"code": 429, "message": "Rate limit exceeded"}}, "busy"),
    ("a string", {"error": {"code": "503", "message": "No instances available"}}, "trouble"),
    ("its type alone", {"error": {"type": "overloaded_error", "message": "x"}}, "trouble"),
    ("its words alone", {"error": {"message": "Too many requests, slow down"}}, "busy"),
    ("words about the server", {"error": "The server is busy. Please try again later."}, "trouble"),
    ("chinese words", {"error": {"message": "服务器繁忙，请稍后再试"}}, "trouble"),
    (
        "of a choice",
        {
            "choices": [
                {
                    "error": {"code": 502, "message": "Provider returned error"},
                    "finish_reason": "error",
                    "message": {"content": ""},
                }
            ]
        },
        "trouble",
    ),
    (
        "nested",
        {
            "error": {
                "message": "Provider returned error",
                "metadata": {"raw": {"error": {"status": "RESOURCE_EXHAUSTED"}}},
            }
        },
        "busy",
    ),
    ("without a frame", {"object": "error", "message": "invalid key", "code": 401}, "key"),
    ("a limit of the day", {"error": {"code": 429, "message": "daily limit reached"}}, "day"),
    ("money", {"error": {"code": "402", "message": "add credits"}}, "quota"),
    ("another error", {"error": {"message": "no pictures"}}, "request"),
]


@pytest.mark.parametrize(("name", "body", "means"), INSIDE, ids=[row[0] for row in INSIDE])
def test_errors_inside_an_answer(name: str, body: Any, means: Meaning) -> None:
    completion = CHAT.read(body)
    assert completion.fault is not None
    assert completion.fault.means == means
    assert completion.error == completion.fault.reason


def choice(content: Any, finish: str | None, message: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    said = {"role": "assistant", "content": content, **(message or {})}
    return {"choices": [{"index": 0, "finish_reason": finish, "message": said, **more}]}


@pytest.mark.parametrize(
    "body",
    [
        *(
            choice(None, reason)
            for reason in (
                "SPII",
                "IMAGE_SAFETY",
                "IMAGE_PROHIBITED_CONTENT",
                "PROHIBITED_CONTENT",
                "BLOCKLIST",
                "RECITATION",
                "IMAGE_RECITATION",
                "content_filter: PROHIBITED_CONTENT",
                "content_filter",
                "content_filtered",
                "refusal",
                "sensitive",
                "ERROR_TOXIC",
                "guardrail_intervened",
                "MODEL_ARMOR",
                "unsafe",
                "content-moderated",
                "BLOCKED_BY_POLICY",
                "policy_violation",
                "high_risk",
                "Safety",
            )
        ),
        choice("", "stop", native_finish_reason="SAFETY"),
        choice(None, None, stop_reason="refusal"),
        choice("", "stop", content_filter_results={"violence": {"filtered": True, "severity": "high"}}),
        choice([{"type": "refusal", "refusal": "I cannot."}], "stop"),
        choice(None, "stop", {"refusal": "I cannot."}),
        {"choices": [], "prompt_filter_results": [{"content_filter_results": {"sexual": {"filtered": True}}}]},
        {"choices": None, "promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}},
        {"candidates": [{"finishReason": "SAFETY", "index": 0}], "usageMetadata": {}},
        {"choices": None, "input_sensitive": True, "base_resp": {"status_code": 1026, "status_msg": "input"}},
        {"error": {"code": 400, "message": "x", "metadata": {"raw": '{"error": {"code": "data_inspection_failed"}}'}}},
        {"choices": [{"error": {"code": 403, "message": "Your input was flagged"}, "message": {"content": ""}}]},
    ],
    ids=str,
)
def test_refusals_inside_an_answer(body: Any) -> None:
    completion = CHAT.read(body)
    assert completion.refusal
    assert (completion.error, completion.fault) == (None, None)


@pytest.mark.parametrize(
    "body",
    [
        choice(None, "stop"),
        choice("", "length"),
        choice(None, "MALFORMED_FUNCTION_CALL"),
        choice("", "stop", content_filter_results={"violence": {"filtered": False, "severity": "safe"}}),
        {"choices": [], "prompt_filter_results": [{"content_filter_results": {"sexual": {"filtered": False}}}]},
        {"choices": [], "promptFeedback": {"blockReason": "BLOCK_REASON_UNSPECIFIED"}},
        {"choices": []},
    ],
    ids=str,
)
def test_nothing_is_taken_for_a_refusal_without_a_sign(body: Any) -> None:
    completion = CHAT.read(body)
    assert completion.refusal is None
    assert completion.error


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (CLOUDFLARE, "a page instead of an answer: api.example | 524: A timeout occurred"),
        (
            "<html><body><center><h1>502 Bad Gateway</h1></center><hr>nginx</body></html>",
            "a page instead of an answer: 502 Bad Gateway",
        ),
        ("<html>\n maintenance &amp; repair</html>", "a page instead of an answer: maintenance & repair"),
        ({"error": {"message": "请求过于频繁"}}, "请求过于频繁"),
        ({"error": "Bad Request", "message": "no pictures"}, "no pictures"),
        ({"detail": [{"loc": ["body"], "msg": "Field required"}]}, "Field required"),
        ({"base_resp": {"status_code": 1026, "status_msg": "input"}}, "input"),
        ({"错": 1}, '{"错": 1}'),
        ("", "no reason given"),
    ],
)
def test_reasons_are_short_and_readable(said: Any, text: str) -> None:
    assert replies.error_text(said) == text


@pytest.mark.parametrize(
    ("body", "feature"),
    [
        (openai("Unsupported parameter: 'max_tokens'", param="max_tokens"), "max_tokens"),
        ({"error": {"message": "Invalid value at 'generation_config.response_schema'"}}, "structure"),
        (
            {
                "detail": [
                    {"loc": ["body", "messages", 0, "image_url", "detail"], "msg": "Extra inputs are not permitted"}
                ]
            },
            "detail",
        ),
        (openai("`logprobs` is not supported with this model"), "logprobs"),
        (openai("Unknown name reasoningEffort"), "reasoning_effort"),
    ],
)
def test_an_error_names_a_part_of_the_request(body: Any, feature: str) -> None:
    assert meanings.names(meanings.of_status(body, 400), feature)


def test_keys_of_an_error_and_echoes_name_nothing() -> None:
    echo = {"detail": [{"msg": "Field required", "input": {"text": "content_filter logprobs"}}]}
    fault = meanings.of_status(echo, 400)
    assert fault.means == "request"
    assert not any(meanings.names(fault, name) for name in ("logprobs", "detail", "structure"))
