#include "sandbox-runtime/doctor/report.hpp"

#include <gtest/gtest.h>

namespace keyhole::runtime::doctor {
namespace {

TEST(DoctorsReport, SaysCauseAndRemedyOfWhatIsBroken)
{
    report r;
    r.ok("a", "fine");
    r.note("b", "by the way");
    r.expect(false, "c", "good", "it is open", "close it");
    EXPECT_EQ(r.broken_ones(), 1U);
    EXPECT_EQ(r.as_text(), "ok      a: fine\nnote    b: by the way\nBROKEN  c: it is open\n        -> close "
                           "it\n1 guarantee is broken\n");
    EXPECT_EQ(
        r.as_json(),
        "{\"ok\":false,\"guarantees\":[\n{\"guarantee\":\"a\",\"state\":\"ok\",\"seen\":\"fine\"},\n"
        "{\"guarantee\":\"b\",\"state\":\"note\",\"seen\":\"by the way\"},\n"
        "{\"guarantee\":\"c\",\"state\":\"broken\",\"cause\":\"it is open\",\"remedy\":\"close it\"}\n]}\n");
}

TEST(DoctorsReport, IsAllOkWithNotesAlone)
{
    report r;
    r.note("a", "b");
    EXPECT_NE(r.as_text().find("all ok"), std::string::npos);
    EXPECT_EQ(r.as_json().substr(0, 11), "{\"ok\":true,");
}

TEST(DoctorsReport, HandsNoNameOnAsACommandOrAsBrokenJson)
{
    report r;
    r.broken("p", "a\x1b[2J\"\\\n\xff", "x");
    EXPECT_EQ(r.as_text().find('\x1b'), std::string::npos);
    EXPECT_NE(r.as_json().find(R"("a\u001b[2J\"\\\u000a\u00ff")"), std::string::npos) << r.as_json();
}

}  // namespace
}  // namespace keyhole::runtime::doctor
