#include "metering/request_facts.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <string>
#include <vector>

using namespace keyhole::metering;

namespace {

std::string apply(std::string body, const body_edit& edit)
{
    return body.replace(edit.begin, edit.end - edit.begin, edit.insert);
}

struct edit_case {
    std::string body;
    std::string edited;
};

TEST(IncludeUsageEdit, AsksForUsageAndChangesNothingElse)
{
    const std::vector<edit_case> table = {
        {R"({"stream":true})", R"({"stream_options":{"include_usage":true},"stream":true})"},
        {" \n{ \"model\":\"m\", \"stream\" : true }\n",
         " \n{\"stream_options\":{\"include_usage\":true}, \"model\":\"m\", \"stream\" : true }\n"},
        {R"({"stream":true,"stream_options":{}})",
         R"({"stream":true,"stream_options":{"include_usage":true}})"},
        {R"({"stream":true,"stream_options":{ }})",
         R"({"stream":true,"stream_options":{"include_usage":true }})"},
        {R"({"stream":true,"stream_options": {"include_obfuscation":false}})",
         R"({"stream":true,"stream_options": {"include_usage":true,"include_obfuscation":false}})"},
        {R"({"stream_options":{"x":{"include_usage":true}},"stream":true})",
         R"({"stream_options":{"include_usage":true,"x":{"include_usage":true}},"stream":true})"},
        {R"({"stream_options":{"include_usage":false},"stream":true})",
         R"({"stream_options":{"include_usage":true},"stream":true})"},
        {R"({"stream_options":{"a":1, "include_usage" : null , "b":2},"stream":true})",
         R"({"stream_options":{"a":1, "include_usage" : true , "b":2},"stream":true})"},
        {R"({"stream_options":{"include_usage":{"a":[1]}},"stream":true})",
         R"({"stream_options":{"include_usage":true},"stream":true})"},
        {R"({"stream_options":{"include\u005fusage":"true"},"stream":true})",
         R"({"stream_options":{"include\u005fusage":true},"stream":true})"},
        {R"({"stream_options": null ,"stream":true})",
         R"({"stream_options": {"include_usage":true} ,"stream":true})"},
        {R"({"stream":true,"stream_options":[{"include_usage":true}]})",
         R"({"stream":true,"stream_options":{"include_usage":true}})"},
        {R"({"stream":true,"stream_options":"x"})",
         R"({"stream":true,"stream_options":{"include_usage":true}})"},
        {R"({"str\u0065am":true,"messages":[{"content":"\"stream_options\":{"}]})",
         R"({"stream_options":{"include_usage":true},"str\u0065am":true,"messages":[{"content":"\"stream_options\":{"}]})"},
    };
    for (const auto& [body, expected] : table) {
        const auto edit = include_usage_edit(scan_request(body));
        ASSERT_TRUE(edit) << body;
        const std::string edited = apply(body, *edit);
        EXPECT_EQ(edited, expected);

        auto before = nlohmann::json::parse(body);
        auto after = nlohmann::json::parse(edited);
        EXPECT_EQ(after["stream_options"]["include_usage"], true) << edited;
        auto& options = before["stream_options"];
        if (!options.is_object()) options = nlohmann::json::object();
        options["include_usage"] = true;
        EXPECT_EQ(before, after) << edited;

        const auto again = scan_request(edited);
        EXPECT_TRUE(again.complete);
        EXPECT_EQ(again.include_usage, true);
        EXPECT_FALSE(include_usage_edit(again)) << "an edited body needs no second edit";
    }
}

TEST(IncludeUsageEdit, LeavesBodiesAloneThatNeedNoneOrCannotBeReadInOneWay)
{
    for (const auto* body : {
             "",
             "[]",
             "{}",
             "null",
             R"({"stream":false})",
             R"({"stream":"true"})",
             R"({"model":"m"})",
             R"({"stream":true,"stream_options":{"include_usage":true}})",
             R"({"stream":true,"stream_options":{"include_usage": true }})",
             R"({"stream":true,"stream":true})",
             R"({"stream":true,"stream_options":{},"stream_options":{}})",
             R"({"stream":true,"stream_options":{},"Stream_Options":{}})",
             R"({"stream":true,"stream_options":{"include_usage":true,"include_usage":false}})",
             R"({"stream":true,"model":"a","model":"b"})",
             R"({"stream":true)",
             R"({"stream":true}})",
             R"({"stream":true,"x":NaN})",
             R"({"x":{"stream":true}})",
         })
    {
        EXPECT_FALSE(include_usage_edit(scan_request(body))) << body;
    }
}

TEST(IncludeUsageEdit, TellsWhatTheAgentAsked)
{
    EXPECT_EQ(scan_request(R"({"stream_options":{"include_usage":true}})").include_usage, true);
    EXPECT_EQ(scan_request(R"({"stream_options":{"include_usage":false}})").include_usage, false);
    EXPECT_EQ(scan_request(R"({"stream_options":{"include_usage":null}})").include_usage, false);
    EXPECT_EQ(scan_request(R"({"stream_options":{}})").include_usage, std::nullopt);
    EXPECT_EQ(scan_request(R"({"include_usage":true})").include_usage, std::nullopt);
}

}  // namespace
