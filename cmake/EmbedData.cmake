# Puts the tables of data/ into the program. A table is a header line, then one row on each line that
# begins with its id and its names; each row becomes a string of its own, so that the program finds a
# row without parsing the others.
#
#   qwenplan_embed_data(TARGET)   adds the tables, declared in src/read/embedded.hpp, to a target.
#
# The same file, run as a script, makes one table: -DTABLE=gpus -DINPUT=gpus.json -DOUTPUT=gpus.cpp.

if(CMAKE_SCRIPT_MODE_FILE STREQUAL CMAKE_CURRENT_LIST_FILE)
  file(READ "${INPUT}" text)
  string(REGEX REPLACE "\r" "" text "${text}")
  if(NOT text MATCHES "^([^\n]*), \"${TABLE}\": \\[\n")
    message(FATAL_ERROR "${INPUT}: the first line has to end with: , \"${TABLE}\": [")
  endif()
  set(header "${CMAKE_MATCH_1}}")
  # Every row has to be understood: a line that is not would be missing from the program in silence.
  string(FIND "${text}" "\n" header_end)
  string(SUBSTRING "${text}" ${header_end} -1 rows)
  string(REGEX MATCHALL "\n *{" lines "${rows}")
  string(REGEX MATCHALL "\n{\"id\": \"[^\"]+\", \"[a-z_]+\": \"" starts "${rows}")
  list(LENGTH lines line_count)
  list(LENGTH starts row_count)
  string(REGEX REPLACE
    "\n({\"id\": \"([^\"]+)\", \"[a-z_]+\": \"([^\"]*)\", \"aliases\": \\[([^]]*)\\][^\n]*}),?"
    "\n    {\"\\2\", \"\\3\", R\"~(\\4)~\", R\"~(\\1)~\"}," rows "${rows}")
  if(NOT line_count EQUAL row_count OR NOT rows MATCHES "},\n]}\n*$")
    message(FATAL_ERROR "${INPUT}: a row is one line: {\"id\": ..., a name, \"aliases\": [...], ...}")
  endif()
  string(REGEX REPLACE "\n]}\n*$" "\n" rows "${rows}")
  file(WRITE "${OUTPUT}" "// Generated from data/${TABLE}.json.
#include \"read/embedded.hpp\"

namespace qwenplan::embedded {
namespace {
constexpr Row kRows[] = {${rows}};
}  // namespace

Table ${TABLE}() { return {R\"~(${header})~\", kRows}; }

}  // namespace qwenplan::embedded
")
  return()
endif()

set(QWENPLAN_EMBED_SCRIPT ${CMAKE_CURRENT_LIST_FILE})

function(qwenplan_embed_data target)
  foreach(table IN ITEMS gpus models sources prices machines measurements calibration tokens)
    set(input ${PROJECT_SOURCE_DIR}/data/${table}.json)
    set(output ${PROJECT_BINARY_DIR}/embedded/${table}.cpp)
    add_custom_command(OUTPUT ${output}
      COMMAND ${CMAKE_COMMAND} -DTABLE=${table} -DINPUT=${input} -DOUTPUT=${output}
        -P ${QWENPLAN_EMBED_SCRIPT}
      DEPENDS ${input} ${QWENPLAN_EMBED_SCRIPT}
      COMMENT "Embedding data/${table}.json" VERBATIM)
    target_sources(${target} PRIVATE ${output})
  endforeach()
endfunction()
