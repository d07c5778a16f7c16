// Real shapes with made-up values, which are put together here so that no scanner takes this file for a leak, and
// look-alikes that people need to read.
#include "hatch/mask.hpp"

#include <random>

#include "catch.hpp"
#include "hatch/hatch.hpp"

using hatch::Mask;
using std::string;

namespace {

// Characters that look random and are the same every time.
string made_up(std::size_t size, std::string_view alphabet, unsigned seed = 7) {
  std::mt19937 random(seed);
  string text;
  while (text.size() < size) text += alphabet[random() % alphabet.size()];
  return text;
}
const string letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
const string digits = "0123456789", hex = "0123456789abcdef", upper = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const string alnum = letters + digits, url64 = alnum + "-_", base64 = alnum + "+/";

const Mask mask;

}  // namespace

TEST_CASE("tokens of known shapes are masked wherever they stand") {
  const string random = made_up(120, alnum);
  const auto of = [&](std::size_t size, const string& alphabet = alnum) { return made_up(size, alphabet); };
  const std::vector<std::pair<const char*, string>> tokens{
      {"AWS key id", string("AK") + "IA" + "7" + of(15, upper + "234567")},
      {"AWS temporary key id", string("AS") + "IA" + "2" + of(15, upper + "234567")},
      {"GitHub", string("gh") + "p_" + of(36)},
      {"GitHub app", string("gh") + "s_" + of(36)},
      {"GitHub fine-grained", string("github") + "_pat_1A" + of(20) + "_" + of(59)},
      {"GitLab", string("gl") + "pat-" + of(20, url64)},
      {"Slack bot", string("xo") + "xb-" + of(12, digits) + "-" + of(12, digits) + "-" + of(24)},
      {"Slack user", string("xo") + "xp-" + of(11, digits) + "-" + of(32, hex)},
      {"Stripe", string("sk") + "_live_" + of(24)},
      {"Stripe restricted", string("rk") + "_live_" + of(24)},
      {"Stripe hook", string("wh") + "sec_" + of(32)},
      {"Google", string("AI") + "za" + of(35, url64)},
      {"Google OAuth", string("ya") + "29." + of(60, url64)},
      {"npm", string("np") + "m_" + of(36)},
      {"PyPI", string("py") + "pi-Ag" + of(80, url64)},
      {"SendGrid", string("S") + "G." + of(22, url64) + "." + of(43, url64)},
      {"OpenAI", string("s") + "k-proj-" + of(48, url64)},
      {"Vault", string("hv") + "s." + of(24)},
      {"DigitalOcean", string("do") + "p_v1_" + of(64, hex)},
      {"Shopify", string("shp") + "at_" + of(32, hex)},
      {"hatchd", string("hatchd") + "_" + of(43, url64)},
      {"JWT", string("ey") + "J" + of(30, url64) + ".eyJ" + of(60, url64) + "." + of(43, url64)},
      {"Telegram bot", "123456789:" + string("AA") + of(33, url64)},
      {"bcrypt", string("$2") + "b$12$" + of(53, alnum + "./")},
      {"crypt", string("$") + "6$" + of(16) + "$" + of(86, alnum + "./")},
      {"argon2", string("$argon") + "2id$v=19$m=65536,t=3,p=4$" + of(22) + "$" + of(43)},
      {"unknown, base64", of(44, base64)},
      {"unknown, base64url", of(43, url64)},
  };
  for (const auto& [what, token] : tokens) {
    CAPTURE(what, token);
    for (const string& around :
         {string("%"), string("got % from the server"), string("https://h/p?x=1#%"), string("(%)"), string("x=\"%\""),
          string("[\"%\"]"), string("line one\\n%"), string("id:%,"), string("%.")}) {
      CAPTURE(around);
      string text = around;
      text.replace(text.find('%'), 1, token);
      string shown = around;
      shown.replace(shown.find('%'), 1, "******");
      CHECK(mask.text(text) == shown);
    }
  }
}

TEST_CASE("values are masked by their names") {
  const auto [text, shown] = GENERATE(table<string, string>({
      {"PASSWORD=hunter2", "PASSWORD=******"},
      {"PGPASSWORD=hunter2 psql", "PGPASSWORD=****** psql"},
      {"export DB_PASS='it''s'", "export DB_PASS='******''s'"},
      {"MYSQL_PWD=x", "MYSQL_PWD=******"},
      {"api_key: abc", "api_key: ******"},
      {"\"apiKey\": \"abc\"", "\"apiKey\": \"******\""},
      {"\\\"password\\\": \\\"a b\\\", \\\"x\\\": 1", "\\\"password\\\": \\\"******\\\", \\\"x\\\": 1"},
      {"'client_secret': 'abc', 'b': 2", "'client_secret': '******', 'b': 2"},
      {"{:password=>\"abc\", :a=>1}", "{:password=>\"******\", :a=>1}"},
      {"SENTRY_DSN=https://abc@sentry.example.org/1", "SENTRY_DSN=******"},
      {"RABBITMQ_ERLANG_COOKIE=XYZ", "RABBITMQ_ERLANG_COOKIE=******"},
      {"REDISCLI_AUTH=foobared", "REDISCLI_AUTH=******"},
      {"secret_key_base = abc", "secret_key_base = ******"},
      {"Server=db;User Id=sa;Password=p&w;Database=x", "Server=db;User Id=sa;Password=******;Database=x"},
      {"user[password]=abc&user[name]=joe", "user[password]=******&user[name]=joe"},
      {"/login?user=joe&password=abc&next=/", "/login?user=joe&password=******&next=/"},
      {"https://h/f?sv=2020&sig=aB3%2Fx9Kd81mZ0qLp&se=1", "https://h/f?sv=2020&sig=aB3%2Fx9Kd81mZ0qLp&se=1"},
      {"https://h/f?X-Amz-Signature=0123456789abcdef0123456789abcdef&a=1", "https://h/f?X-Amz-Signature=******&a=1"},
      {"https://h/?access_token=abc#frag", "https://h/?access_token=******#frag"},
      {"passwords=['a1', 'b2']", "passwords=[******]"},
      {"login failed (password=abc)", "login failed (password=******)"},
      {"VAULT secret_id=abc", "VAULT secret_id=******"},
      {"token=abc", "token=******"},
      {"key=4b1f0e9a8c7d6e5f4b1f0e9a8c7d6e5f", "key=******"},
      {"AccountName=x;AccountKey=abc123==;EndpointSuffix=core", "AccountName=x;AccountKey=******;EndpointSuffix=core"},
      {"password=\"a\\\"b c\" next", "password=\"******\" next"},
      {"spring.datasource.password=abc", "spring.datasource.password=******"},
  }));
  CAPTURE(text);
  CHECK(mask.text(text) == shown);
}

TEST_CASE("headers, URLs and keys in PEM are masked") {
  const string pem = string("-----BEGIN RSA PRI") + "VATE KEY-----";
  const auto [text, shown] = GENERATE_COPY(table<string, string>({
      {"Authorization: Bearer abc.def", "Authorization: Bearer ******"},
      {"authorization: Basic dXNlcjpwYXNz\r\nHost: h", "authorization: Basic ******\r\nHost: h"},
      {"Authorization: opaque", "Authorization: ******"},
      {"curl -H 'Authorization: Bearer abc' http://h/", "curl -H 'Authorization: Bearer ******' http://h/"},
      {"Cookie: a=b; c=d\nAccept: */*", "Cookie: ******\nAccept: */*"},
      {"Set-Cookie: sid=abc; HttpOnly", "Set-Cookie: ******"},
      {"X-Api-Key: abc", "X-Api-Key: ******"},
      {"sent bearer 0a1b2c3d4e5f6a7b8c9d", "sent bearer ******"},
      {"sent Bearer a8Kd92mXqL01pZ7v", "sent Bearer ******"},
      {"redis://:pw@h:6379/0", "redis://:******@h:6379/0"},
      {"amqp://u:p@ss@h//", "amqp://u:******@h//"},
      {"postgres://u:p/w@h/db", "postgres://u:******@h/db"},
      {"redis://:12/3@h", "redis://:******@h"},
      {"amqp://a:b@h1,amqp://c:d@h2", "amqp://a:******@h1,amqp://c:******@h2"},
      {"https://0123456789abcdef0123456789abcdef@sentry.example.org/2", "https://******@sentry.example.org/2"},
      {"ssh://git@host/r.git", "ssh://git@host/r.git"},
      {"http://host:80/a:b@c", "http://host:80/a:b@c"},
      {"http://[::1]:80/@", "http://[::1]:80/@"},
      {"amqp://u:${PLACE}@h", "amqp://u:${PLACE}@h"},
      {"https://hooks.slack.com/services/T0/B0/x9?a=1", "https://hooks.slack.com/services/******?a=1"},
      {"https://discord.com/api/webhooks/1/ab", "https://discord.com/api/webhooks/******"},
      {"https://shop.webhook.office.com/webhookb2/a@b/c", "https://shop.webhook.office.com/webhookb2/******"},
      {pem + "\nMIIE\nxyz\n-----END RSA PRI" + "VATE KEY-----\nrest",
       pem + "******-----END RSA PRI" + "VATE KEY-----\nrest"},
      {pem + "\\nMIIE cut off", pem + "******"},
      // What only looks like a public block hides nothing: its label ends with its line, and it ends as it began.
      {"-----BEGIN X\npassword=abc\nY-----", "-----BEGIN X\npassword=******\nY-----"},
      {"-----BEGIN X-----\npassword=abc", "-----BEGIN X-----\npassword=******"},
  }));
  CAPTURE(text);
  CHECK(mask.text(text) == shown);
  CHECK(mask.text(mask.text(text)) == shown);
}

TEST_CASE("look-alikes stay readable") {
  const string text = GENERATE(
      as<string>{},  //
      "MONKEY=1 TURKEY=2 KEYBOARD=us hockey: yes", "TOKENIZER_PATH=/models/t5", "TOKENIZERS_PARALLELISM=false",
      "token_count=3 max_tokens=4096 tokens: 12, tokens_per_second=31.5", "Unexpected token: end of file",
      "unexpected token ')' in line 3", "using password: YES", "PASSWORD_FILE=/run/secrets/db",
      "password_min_length: 12", "AUTH_PASSWORD_VALIDATORS", "PASSWORD_HASHERS=argon2", "TOKEN_URL=https://h/token",
      "SESSION_COOKIE_NAME=sid", "COOKIE_SECURE=true", "SSH_AUTH_SOCK=/tmp/ssh-x/agent.1",
      "XAUTHORITY=/home/x/.Xauthority", "PWD=/srv/app OLDPWD=/", "GOOGLE_APPLICATION_CREDENTIALS=/etc/gcp/key.json",
      "primary_key=id", "routing_key=celery", "public_key=abc", "partition_key: 7d9f8b6c5d7d9f8b", "secretary=Ann",
      "bypass=1 compass=n passed=3 pass=12 fail=0", "password=", "password: ''", "PASSWORD=${DB_PASSWORD}",
      "password=******", "dsn=2.0.0, status=sent", "auth=basic", "key=value", "--key /etc/tls/key.pem",
      "f47ac10b-58cc-4372-a567-0e02b2c3d479", "da39a3ee5e6b4b0d3255bfef95601890afd80709",
      "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
      "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
      "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
      "Repr-Digest: sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:",
      "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU",
      "h1:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=", "BuildID[sha1]=4c1d1a3b8a6f2b3c4d5e6f708192a3b4c5d6e7f8",
      "GNU build-id: 4c1d1a3b8a6f2b3c4d5e6f708192a3b4c5d6e7f8", "/usr/lib/x86_64-linux-gnu/libstdc++.so.6.0.30",
      "/var/lib/docker/overlay2/4c1d1a3b8a6f2b3c4d5e6f70/merged",
      "/nix/store/0c5b3zpkn1hl3k6qv3xb1l4l8v6sa1d2-glibc-2.38", "c:/Users/JoeX1/Code/Go2Proj/SrcFile9/BarQux42Handler",
      "aGVsbG8=", "aGVsbG8gd29ybGQ=", "web-7d9f8b6c5d-x2x9z", "01JDN2V9E7Q3M4X5Z6W7Y8T9RA",
      "2026-11-26T12:50:37.123456Z",
      "_ZNSt6vectorIN3app5TokenESaIS1_EE17_M_realloc_insertIJS1_EEEvN9__gnu_cxx17__normal_iteratorIPS1_S3_EEDpOT_",
      "_RNvCs4fqI2P2rA04_7example4mainNtNtCs5YxL1gZ9kQw_4core3fmt", "app::token::Parser::next(app::token::Kind, int)",
      "std::map<std::string, app::Secret>::operator[](std::string&&)",
      "#3  0x00007f3a9c in Session::password (this=0x55d0) at a.cpp:12",
      "File \"/srv/app/token.py\", line 12, in verify_token", "if (token == end) return;",
      "int (*key)(void*) = nullptr;", "Content-Type: application/json; charset=utf-8",
      "hatchd_runs_total{hatch=\"stack.dump\"}", "hatchd_build_info",
      "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKq9Xb7ZcP2mQw8uYtR4vN1sEoLfGhJkDaBxCzVuWp5T me@h",
      "x-request-id: 4bf92f3577b34da6a3ce929d0e0e4736",
      "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "250 2.0.0 Ok: queued as 4XyZ1234567",
      "redis://cache:6379/0", "celery@worker1.example.org", "key: user:42:profile",
      "org.springframework.security.web.authentication.UsernamePasswordAuthenticationFilter",
      "com.example.TokenAuthenticationFilterV2Configuration$$EnhancerBySpringCGLIB",
      "AbstractHttp2ConnectionHandlerBuilderFactoryV3Impl",
      "-----BEGIN CERTIFICATE-----\nMIIDdzCCAl+gAwIBAgIEAgAAuTANBgkqhkiG9w0BAQUFADBaMQswCQYDVQQGEwJJ\n-----END "
      "CERTIFICATE-----",
      "lambda$main$0", "$PATH", "$1", "a$b$c", "x-amz-id: 12", "ASIAPACIFICREGIONSEAST", "skeleton-key-of-the-house",
      "eyJ.a.b");
  CAPTURE(text);
  CHECK(mask.text(text) == text);
}

TEST_CASE("masking a masked text changes nothing where URLs stand one in another") {
  const std::string once = hatch::Mask().text("is://=x:\x01 bl=red is://=x://:pw@h/0 a://b:c@d://e:f@g");
  CHECK(once.find(":pw@") == once.npos);
  CHECK(hatch::Mask().text(once) == once);
}

TEST_CASE("secrets in arguments are masked") {
  using List = std::vector<std::string>;
  const auto [plain, shown] = GENERATE(table<List, List>({
      {{"app", "--password=hunter2", "--port=80"}, {"app", "--password=******", "--port=80"}},
      {{"app", "--token", "abc", "file"}, {"app", "--token", "******", "file"}},
      {{"app", "--token", "--verbose"}, {"app", "--token", "--verbose"}},
      {{"env", "DB_PASSWORD=a&b c"}, {"env", "DB_PASSWORD=******"}},
      {{"java", "-Dspring.datasource.password=x", "-jar"}, {"java", "-Dspring.datasource.password=******", "-jar"}},
      {{"/usr/bin/mysqldump", "-psecret", "-P3306"}, {"/usr/bin/mysqldump", "-p******", "-P3306"}},
      {{"ssh", "-p2222"}, {"ssh", "-p2222"}},
      {{"sshpass", "-p", "x", "ssh"}, {"sshpass", "-p", "******", "ssh"}},
      {{"curl", "-u", "me:pw", "http://h/"}, {"curl", "-u", "me:******", "http://h/"}},
      {{"celery", "redis://:pw@h/0", "amqp://u:p@ss@h//"}, {"celery", "redis://:******@h/0", "amqp://u:******@h//"}},
      {{"x", "http://h/?api_key=k&page=2"}, {"x", "http://h/?api_key=******&page=2"}},
      {{"sh", "-c", "mysql -pfoo --user=bar; exec app --secret s"},
       {"sh", "-c", "mysql -p****** --user=bar; exec app --secret ******"}},
      {{"app", "--keyboard=us", "--monkey=1", "a=b", "="}, {"app", "--keyboard=us", "--monkey=1", "a=b", "="}},
      {{}, {}},
  }));
  CHECK(mask.arguments(plain) == shown);
  CHECK(mask.arguments(shown) == shown);
  // Once more changes nothing, also where a word of it alone looks like a secret.
  const std::vector<std::string> header = mask.arguments({"app", "x Authorization:ror pB2$saLt$hash joe"});
  CHECK(header[1].find("pB2") == header[1].npos);
  CHECK(mask.arguments(header) == header);
  // Masked as a header to its quote, then as the value of an option, then as a header to the end of its line.
  const std::vector<std::string> option =
      mask.arguments({"app", "-x passwordAuthorization: b\" url=Basic dXNlcg= a=b\r\n"});
  CHECK(option[1] == "-x passwordAuthorization: ******\" url=Basic dXNlcg= a=b\r\n");
  CHECK(mask.arguments(option) == option);
  // An argument that is the name of an option only once its spaces are masked.
  const std::vector<std::string> late = mask.arguments({"app", "-password:\"a b\"", "next"});
  CHECK(mask.arguments(late) == late);
}

TEST_CASE("names say what is secret") {
  for (const char* name : {"PASSWORD",
                           "dbPassword",
                           "DB-PASSWD",
                           "APIKey",
                           "api_key2",
                           "AWS_SECRET_ACCESS_KEY",
                           "--client-secret",
                           "csrftoken",
                           "TOKEN_PROD",
                           "SENTRY_DSN",
                           "credentials",
                           "passphrase",
                           "PRIVATE_KEY",
                           "jwt",
                           "Cookie",
                           "spring.datasource.password",
                           "NEW_RELIC_LICENSE_KEY",
                           "encryptionKey",
                           "SMTP_PASS",
                           "hmacKey"}) {
    CAPTURE(name);
    CHECK(mask.secret_name(name));
  }
  for (const char* name :
       {"", "MONKEY", "PASSWORD_FILE", "token_count", "TOKENIZER", "keyboard", "KEY", "primary_key", "author",
        "passenger", "PASS_RATE", "accessKeyId", "secret_name", "cookie_domain", "public_key", "tokenUrl"}) {
    CAPTURE(name);
    CHECK_FALSE(mask.secret_name(name));
  }
  CHECK(mask.value("DB_PASSWORD", "a b&c\nd") == "******");
  CHECK(mask.value("APP_NAME", "shop") == "shop");
  CHECK(mask.value("URL", "redis://:x@h") == "redis://:******@h");
  CHECK(mask.value("FOO_KEY", "short") == "short");
  CHECK(mask.value("FOO_KEY", "9f8a7b6c5d4e3f2a1b0c") == "******");
}

TEST_CASE("JSON is masked by its members and stays JSON") {
  const auto [text, shown] = GENERATE(table<string, string>({
      {R"({"password": "a\"b", "user": "u"})", R"({"password": "******", "user": "u"})"},
      {R"({"pin_secret":5,"token":3,"token_count":3,"set":{"password":true,"secret":null}})",
       R"({"pin_secret":"******","token":3,"token_count":3,"set":{"password":true,"secret":null}})"},
      {R"({"tokens":["a","b"],"n":[1,2]})", R"({"tokens":["******","******"],"n":[1,2]})"},
      {R"({"tokens":[{"name":"oncall","role":"viewer"}]})", R"({"tokens":[{"name":"oncall","role":"viewer"}]})"},
      {R"({"credentials":{"user":"u","ids":[7,"x"]}})",
       R"({"credentials":{"user":"******","ids":["******","******"]}})"},
      {R"([{"name":"DB_PASSWORD","value":"x"},{"name":"A","value":"x"}])",
       R"([{"name":"DB_PASSWORD","value":"******"},{"name":"A","value":"x"}])"},
      {R"({"argv":"--password=x","env":"A=1\nSECRET=y\nB=2"})",
       R"({"argv":"--password=******","env":"A=1\nSECRET=******\nB=2"})"},
      {R"({"pass\u0077ord":"x"})", R"({"pass\u0077ord":"******"})"},
      {R"({"body":"{\"api_key\": \"k\", \"a\": 1}"})", R"({"body":"{\"api_key\": \"******\", \"a\": 1}"})"},
      {R"("redis://:x@h")", R"("redis://:******@h")"},
      {"{\"a\":\"\\u00e9\\/\"}", "{\"a\":\"\\u00e9\\/\"}"},
      {"password=x {", "password=****** {"},
      {"", ""},
  }));
  CAPTURE(text);
  CHECK(mask.json(text) == shown);
  CHECK(mask.json(mask.json(text)) == shown);
}

TEST_CASE("what comes again in a long text is masked as where it stands alone") {
  std::mt19937 random(7);
  SECTION("lines") {
    const std::vector<string> lines{
        "  #3   demo::Shop::work(int)  hatchd-demo+0x3f21\n",
        "  #12  start_thread  libc.so.6+0x891f5\n",
        "\"worker-1\" thread 4711, waiting in futex\n",
        "the password=hunter2 of the shop is wrong\n",
        "see https://user:secret@example.org/path for more\n",
        "see https://hooks.slack.com/services/T000/B000/" + made_up(24, alnum) + "\n",
        "key " + made_up(40, base64) + " was refused\n",
        "short\n",
        "\n",
    };
    string text, shown;
    while (text.size() < (64 << 10)) {
      const string& line = lines[random() % lines.size()];
      text += line;
      shown += mask.text(line);
    }
    CHECK(mask.text(text) == shown);
  }
  SECTION("lines whose meaning lies in the next one") {
    const string begin = "-----BEGIN RSA PRIVATE KEY-----\n", end = "-----END RSA PRIVATE KEY-----\n";
    const string certificate = "-----BEGIN CERTIFICATE-----\n", filler(16 << 10, ' ');
    // A quoted value that goes on in the next line, of which one is harmless.
    const string open = "a value of the shop, token=\"\\\n", secret = made_up(40, base64) + "\" and so on\n";
    const string text = open + "\" and so on\n" + open + secret + certificate + "a line between\n" + certificate +
                        made_up(60, base64) + "\n" + begin + made_up(60, base64) + "\n" + end + filler;
    CHECK(mask.text(text) == mask.text(text.substr(0, text.size() - filler.size())) + filler);
  }
  SECTION("members of JSON") {
    const string inner =
        R"x({"function":"demo::Shop::work(int)","offset":17231,"module":"hatchd-demo","tags":["a","b"]})x";
    const string list = "[" + inner + "," + inner + ",\"a word that is not secret by itself\"]";
    const std::vector<string> objects{
        inner,
        R"({"frames":)" + list + "}",
        R"({"passwords":)" + list + "}",
        R"({"credentials":)" + list + "}",
        R"({"credentials":{"user":)" + inner + "}}",
        R"({"name":"DB_PASSWORD","value":)" + list + "}",
        R"({"name":"DB_NAME","value":)" + list + "}",
        R"({"name":"DB_PASSWORD","value":"something that is long enough to be found again","n":1})",
        R"({"text":"password=hunter2 and some more text, so that it is long enough","n":[1,2,3]})",
    };
    string text = "[", shown = "[";
    while (text.size() < (64 << 10)) {
      const string& object = objects[random() % objects.size()];
      text += (text.size() > 1 ? "," : "") + object;
      shown += (shown.size() > 1 ? "," : "") + mask.json(object);
    }
    CHECK(mask.json(text + "]") == shown + "]");
  }
  SECTION("what is no JSON") {
    string text;
    while (text.size() < (32 << 10)) text += R"([{"a":"a text of some length, and another one behind it"}}}],)";
    CHECK(mask.json(text) == mask.text(text));
  }
}

TEST_CASE("an operator adds names and words, and lets others stay") {
  const Mask own(hatch::mask_rules_of(
      R"({"keys": ["*_HANDLE", "room"], "patterns": ["acme_????????*"], "allow": ["CSRF_TOKEN", "Build*"], "x": 1})"));
  CHECK(own.rules().keys.size() == 2);
  CHECK(own.text("DB_HANDLE=x room: 12b") == "DB_HANDLE=****** room: ******");
  CHECK(own.text("db_handle=x") == "db_handle=******");
  CHECK(own.text("use acme_12345678 and acme_1") == "use ****** and acme_1");
  CHECK(own.text("CSRF_TOKEN=abc DB_TOKEN=abc") == "CSRF_TOKEN=abc DB_TOKEN=******");
  const string word = "Build" + made_up(40, alnum);
  CHECK(mask.text(word) == "******");
  CHECK(own.text(word) == word);
  CHECK(own.json(R"({"room": 5})") == R"({"room": "******"})");
  CHECK(hatch::mask_rules_of("nonsense [").keys.empty());
}

TEST_CASE("random words are found and named ones are not, by the thousand") {
  std::size_t found = 0;
  for (unsigned seed = 0; seed < 2000; ++seed) found += mask.text(made_up(40, base64, seed)) == "******";
  CHECK(found > 1800);
  for (unsigned seed = 0; seed < 2000; ++seed) {
    const string digest = made_up(64, hex, seed), id = made_up(26, "0123456789ABCDEFGHJKMNPQRSTVWXYZ", seed);
    CHECK(mask.text(digest) == digest);
    CHECK(mask.text(id) == id);
  }
}

TEST_CASE("masking takes time in proportion to the text, whoever wrote it") {
  // What makes careless scanners quadratic: they would meet the time limit of this program, which is no matter for one
  // pass.
  const auto repeated = [](std::string_view piece, std::size_t size) {
    string text;
    while (text.size() < size) text += piece;
    return text;
  };
  for (const char* piece : {"-----BEGIN x-----",
                            "-----BEGIN RSA ",
                            "://",
                            "://:",
                            "://a:b/",
                            "eyJ-",
                            "eyJaaaaaaaaaa.",
                            "sk-",
                            "xoxb-",
                            "$1",
                            "$2b$",
                            "password",
                            "password=",
                            "a=",
                            "&a=",
                            "\"",
                            "\\\"",
                            "[",
                            "{\"a\":",
                            "token:",
                            "Bearer ",
                            "(",
                            ")",
                            "a:b@",
                            "glpat-x.",
                            "ATATT3/",
                            "1234567:AA",
                            "aB3/",
                            "=",
                            ":",
                            "passwords=[",
                            "key=",
                            "key=a&",
                            "key:'",
                            "\\n",
                            "token: "}) {
    CAPTURE(piece);
    const string text = repeated(piece, 256 << 10), less = repeated(piece, 16 << 10);
    CHECK(mask.text(text).size() <= 8 * text.size());
    CHECK(mask.json(less).size() <= 8 * less.size());
    CHECK(mask.arguments({less, less}).size() == 2);
  }
}
