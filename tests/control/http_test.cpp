// What any peer can send to the control listeners: authentication, limits, nonsense.
#include "control_fixture.hpp"

namespace keyhole::proxy::test {
namespace {

class ControlHttp : public ::testing::Test {
protected:
    control_plane plane;
};

TEST_F(ControlHttp, OverTcpEverythingButHealthNeedsTheToken)
{
    for (const std::string& header :
         {std::string(), std::string("Authorization: Bearer wrong\r\n"),
          "Authorization: Basic " + plane.admin_token + "\r\n",
          "Authorization: Bearer " + plane.admin_token + "x\r\n",
          "Authorization: Bearer \r\n" + std::string(), "Authorization: " + plane.admin_token + "\r\n",
          "X-Api-Key: " + plane.admin_token + "\r\n", plane.bearer() + plane.bearer()})
    {
        for (const char* path :
             {"/admin/v1/sessions", "/admin/v1/usage", "/admin/v1/status", "/v1/sessions", "/nothing"})
        {
            const http_answer a = call(plane.tcp_port, "GET", path, {}, header);
            EXPECT_EQ(a.status, 401) << path << " with " << header;
            EXPECT_EQ(a.read(), (json{{"error", "unauthorized"}}));
        }
    }
    EXPECT_EQ(call(plane.tcp_port, "GET", "/v1/health").status, 200);
    EXPECT_EQ(call(plane.tcp_port, "GET", "/admin/v1/sessions", {}, plane.bearer()).status, 200);
    EXPECT_EQ(call(plane.tcp_port, "GET", "/nothing", {}, plane.bearer()).status, 404);
}

TEST(ControlHttpWithoutToken, TheAdminApiOverTcpIsDisabled)
{
    control_plane plane({.with_token = false, .with_tcp = true, .own_sockets = true});
    const http_answer a = call(plane.tcp_port, "GET", "/v1/sessions", {}, "Authorization: Bearer \r\n");
    EXPECT_EQ(a.status, 503);
    EXPECT_EQ(a.read(), (json{{"error", "admin api disabled"}}));
    EXPECT_EQ(call(plane.tcp_port, "POST", "/admin/v1/sessions", "{}").status, 503);
    EXPECT_EQ(call(plane.tcp_port, "GET", "/v1/health").status, 200);
    EXPECT_EQ(plane.admin("GET", "/admin/v1/sessions").status, 200);  // the socket needs none
}

TEST_F(ControlHttp, TheSocketNeedsNoTokenAndMindsNone)
{
    EXPECT_EQ(call(plane.socket(), "GET", "/v1/sessions").status, 200);
    EXPECT_EQ(call(plane.socket(), "GET", "/v1/sessions", {}, plane.bearer()).status, 200);
    EXPECT_EQ(call(plane.socket(), "GET", "/v1/sessions", {}, "Authorization: Bearer wrong\r\n").status, 200);
}

TEST_F(ControlHttp, ConnectionsAreKeptAndCanBeClosed)
{
    raw_client client(plane.socket());
    for (int i = 0; i < 3; ++i) {
        client.send(request_text("GET", "/v1/health"));
        EXPECT_EQ(client.answer().status, 200);
    }
    client.send(request_text("GET", "/v1/health") + request_text("GET", "/nothing"));  // pipelined
    EXPECT_EQ(client.answer().status, 200);
    EXPECT_EQ(client.answer().status, 404);
    client.send(request_text("GET", "/v1/health", {}, "Connection: close\r\n"));
    EXPECT_EQ(client.answer().status, 200);
    EXPECT_TRUE(client.receive().empty());
}

TEST_F(ControlHttp, ARequestThatArrivesByteByByteIsARequest)
{
    raw_client client(plane.socket());
    for (const char c : request_text("POST", "/admin/v1/sessions", R"({"name":"slow"})")) {
        client.send({&c, 1});
    }
    EXPECT_EQ(client.answer().status, 201);
}

TEST_F(ControlHttp, NonsenseIsRefusedAndTheConnectionEnds)
{
    for (const std::string& bytes : {std::string("nonsense\r\n\r\n"), std::string("GET / HTTP/9.9\r\n\r\n"),
                                     std::string("GET /\x01 HTTP/1.1\r\n\r\n"),
                                     std::string("GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n"),
                                     std::string("\x16\x03\x01\x02\x00\x01\r\n\r\n", 10),
                                     std::string("GET / HTTP/1.1\r\nbad header\r\n\r\n")})
    {
        raw_client client(plane.socket());
        client.send(bytes);
        EXPECT_EQ(client.answer().status, 400) << bytes;
        EXPECT_TRUE(client.receive().empty());
    }
    EXPECT_EQ(plane.admin("GET", "/v1/health").status, 200);
}

TEST_F(ControlHttp, TooMuchIsRefused)
{
    {
        raw_client client(plane.socket());
        client.send("GET / HTTP/1.1\r\nX: " + std::string(17 * 1024, 'x') + "\r\n\r\n");
        EXPECT_EQ(client.answer().status, 431);
    }
    {
        raw_client client(plane.socket());
        client.send("POST /admin/v1/sessions HTTP/1.1\r\nContent-Length: 1048577\r\n\r\n");
        EXPECT_EQ(client.answer().status, 413);
    }
    const std::string largest = R"({"name":")" + std::string(1024 * 1024 - 11, 'x') + R"("})";
    EXPECT_EQ(call(plane.socket(), "POST", "/admin/v1/sessions", largest).status,
              400);  // read, and found too long
}

TEST_F(ControlHttp, ChunksAreNotTaken)
{
    raw_client client(plane.socket());
    client.send("POST /admin/v1/sessions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n");
    EXPECT_EQ(client.answer().status, 411);
}

TEST_F(ControlHttp, CurlsExpectationIsMet)
{
    raw_client client(plane.socket());
    client.send(
        "POST /admin/v1/sessions HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    EXPECT_EQ(client.answer().status, 100);
    client.send("{}");
    EXPECT_EQ(client.answer().status, 201);
}

TEST_F(ControlHttp, AWrongMethodIsToldTheRightOnes)
{
    const http_answer a = plane.admin("PUT", "/admin/v1/sessions");
    EXPECT_EQ(a.status, 405);
    EXPECT_NE(a.head.find("Allow: POST, GET\r\n"), std::string::npos) << a.head;
    EXPECT_TRUE(a.read().contains("error"));
}

TEST_F(ControlHttp, AnswersAreNeverStored)
{
    const http_answer a = plane.admin("GET", "/admin/v1/sessions");
    EXPECT_NE(a.head.find("Cache-Control: no-store\r\n"), std::string::npos);
    EXPECT_NE(a.head.find("Content-Type: application/json\r\n"), std::string::npos);
}

TEST_F(ControlHttp, ClientsThatHangUpInTheMiddleHurtNobody)
{
    const std::string whole = request_text("POST", "/admin/v1/sessions", R"({"name":"gone"})");
    for (std::size_t n = 0; n < whole.size(); n += 7) {
        raw_client client(plane.socket());
        client.send(std::string_view(whole).substr(0, n));
    }
    EXPECT_EQ(plane.admin("GET", "/admin/v1/sessions").read().size(), 0U);
}

TEST_F(ControlHttp, AServerThatEndsWithOpenConnectionsLeavesNothingBehind)
{
    raw_client idle(plane.socket());
    raw_client half(plane.tcp_port);
    half.send("GET /v1/hea");
    idle.send(request_text("GET", "/v1/health"));
    EXPECT_EQ(idle.answer().status, 200);
    plane.restart();
    EXPECT_EQ(plane.admin("GET", "/v1/health").status, 200);
}

TEST_F(ControlHttp, StoppingTakesTheSocketsFileAway)
{
    plane.on_control_thread([&] { plane.server->stop(); });
    EXPECT_FALSE(std::filesystem::exists(plane.socket()));
    EXPECT_FALSE(raw_client(plane.socket()).connected());
}

TEST_F(ControlHttp, StoppingLeavesASuccessorsSocketAlone)
{
    std::filesystem::remove(plane.socket());
    std::ofstream(plane.socket()) << "a successor's";
    plane.on_control_thread([&] { plane.server->stop(); });
    EXPECT_TRUE(std::filesystem::exists(plane.socket()));
}

TEST_F(ControlHttp, TheMetricsListenerServesThreePathsAndNothingElse)
{
    const http_answer m = call(plane.metrics_port, "GET", "/metrics");
    EXPECT_EQ(m.status, 200);
    EXPECT_NE(m.head.find("Content-Type: text/plain; version=0.0.4"), std::string::npos) << m.head;
    EXPECT_EQ(m.body.substr(0, 1), "#");
    EXPECT_EQ(call(plane.metrics_port, "GET", "/healthz").body, "ok\n");
    EXPECT_EQ(call(plane.metrics_port, "GET", "/readyz").body, "ready\n");
    EXPECT_EQ(call(plane.metrics_port, "GET", "/readyz?verbose").status, 200);
    for (const char* path :
         {"/", "/admin/v1/sessions", "/v1/sessions", "/v1/health", "/metrics/", "/metricsx", "/../metrics"})
    {
        EXPECT_EQ(call(plane.metrics_port, "GET", path, {}, plane.bearer()).status, 404) << path;
    }
    EXPECT_EQ(call(plane.metrics_port, "POST", "/metrics", "{}").status, 405);
}

TEST_F(ControlHttp, HeadHasTheLengthWithoutTheBody)
{
    raw_client client(plane.metrics_port);
    client.send(request_text("HEAD", "/healthz"));
    const http_answer head = client.answer(true);
    EXPECT_EQ(head.status, 200);
    EXPECT_NE(head.head.find("Content-Length: 3\r\n"), std::string::npos) << head.head;
    client.send(request_text("GET", "/healthz"));
    EXPECT_EQ(client.answer().body, "ok\n");  // nothing stood in between
}

TEST_F(ControlHttp, ReadinessSaysWhyNot)
{
    plane.on_control_thread([&] { plane.not_ready = "draining"; });
    const http_answer a = call(plane.metrics_port, "GET", "/readyz");
    EXPECT_EQ(a.status, 503);
    EXPECT_EQ(a.body, "draining\n");
    EXPECT_EQ(call(plane.metrics_port, "GET", "/healthz").status, 200);
    const json status = plane.admin("GET", "/admin/v1/status").read();
    EXPECT_EQ(status["ready"], false);
    EXPECT_EQ(status["reason"], "draining");
    EXPECT_EQ(status["agent_connections"], 7);
}

}  // namespace
}  // namespace keyhole::proxy::test
