# The packages come from the system. The names of the targets are the contract: they are the same
# from Debian 12 (fmt 9, CLI11 2.1, Catch2 2.13) to the newest of Homebrew and vcpkg.
find_package(CLI11 2.1 CONFIG QUIET)
find_package(nlohmann_json 3.11 CONFIG QUIET)
find_package(fmt 9.1 CONFIG QUIET)
find_package(yaml-cpp 0.7 CONFIG QUIET)
if(TARGET yaml-cpp AND NOT TARGET yaml-cpp::yaml-cpp)  # its name before 0.8
  add_library(yaml-cpp::yaml-cpp ALIAS yaml-cpp)
endif()
# For tokenizers' patterns and for gzip. The archives where there are any: a program that loads two
# libraries more starts later.
find_path(PCRE2_INCLUDE_DIR NAMES pcre2.h)
find_library(PCRE2_LIBRARY NAMES libpcre2-8.a pcre2-8)
if(PCRE2_INCLUDE_DIR AND PCRE2_LIBRARY)
  add_library(PCRE2::found UNKNOWN IMPORTED)
  set_target_properties(PCRE2::found PROPERTIES IMPORTED_LOCATION "${PCRE2_LIBRARY}"
    INTERFACE_INCLUDE_DIRECTORIES "${PCRE2_INCLUDE_DIR}")
endif()
find_path(ZLIB_INCLUDE_DIR NAMES zlib.h)
find_library(ZLIB_LIBRARY NAMES libz.a z)
if(ZLIB_INCLUDE_DIR AND ZLIB_LIBRARY)
  add_library(ZLIB::found UNKNOWN IMPORTED)
  set_target_properties(ZLIB::found PROPERTIES IMPORTED_LOCATION "${ZLIB_LIBRARY}"
    INTERFACE_INCLUDE_DIRECTORIES "${ZLIB_INCLUDE_DIR}")
endif()
set(wanted CLI11::CLI11 nlohmann_json::nlohmann_json fmt::fmt-header-only yaml-cpp::yaml-cpp
  PCRE2::found ZLIB::found)
if(QWENPLAN_TESTS)
  find_package(Catch2 CONFIG QUIET)  # No version: its file accepts one major only, and 2 and 3 both do.
  list(APPEND wanted Catch2::Catch2WithMain)
endif()

set(missing "")
foreach(target IN LISTS wanted)
  if(NOT TARGET ${target})
    string(REGEX REPLACE "::.*" "" package ${target})
    list(APPEND missing ${package})
  endif()
endforeach()
if(missing)
  list(JOIN missing ", " missing)
  message(FATAL_ERROR "qwenplan needs packages that are not here: ${missing}. Install them with one of\n"
    "  apt install cmake g++ ninja-build libcli11-dev nlohmann-json3-dev libfmt-dev libyaml-cpp-dev libpcre2-dev zlib1g-dev catch2\n"
    "  brew install cmake cli11 nlohmann-json fmt yaml-cpp pcre2 zlib catch2\n"
    "  vcpkg install cli11 nlohmann-json fmt yaml-cpp pcre2 zlib catch2\n"
    "and configure again.")
endif()

# The archive where there is one: the program carries its C++ library with it, and a shared yaml-cpp
# would bring a second one.
set(yaml_cpp yaml-cpp::yaml-cpp)
find_library(YAML_CPP_ARCHIVE NAMES libyaml-cpp.a)
if(YAML_CPP_ARCHIVE)
  set(yaml_cpp ${YAML_CPP_ARCHIVE})
endif()

# One target, so that every file sees the same definitions.
add_library(qwenplan_packages INTERFACE)
target_link_libraries(qwenplan_packages
  INTERFACE CLI11::CLI11 nlohmann_json::nlohmann_json fmt::fmt-header-only ${yaml_cpp}
    PCRE2::found ZLIB::found)
target_include_directories(qwenplan_packages SYSTEM
  INTERFACE $<TARGET_PROPERTY:yaml-cpp::yaml-cpp,INTERFACE_INCLUDE_DIRECTORIES>)
target_compile_definitions(qwenplan_packages INTERFACE JSON_USE_IMPLICIT_CONVERSIONS=0)
